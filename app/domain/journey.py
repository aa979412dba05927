"""The kinds of moments that make up a customer's journey, and a line for each."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class JourneyKind(StrEnum):
    """What happened; moments of the same instant are told in this alphabetical order."""

    CAPTURE = "capture"
    CONTACT = "contact"
    EVENT = "event"
    FEEDBACK = "feedback"
    ORDER = "order"
    STANDING = "standing"


def title(kind: JourneyKind, details: Mapping[str, Any]) -> str:
    """A line that names nobody; `details` are the fields that the kind has in the repository."""
    match kind:
        case JourneyKind.CAPTURE:
            visit = details["visit_type"]
            return f"Located at a visit ({visit})" if visit else f"Located by {details['source']}"
        case JourneyKind.CONTACT:
            answer = ", answered" if details["responded_at"] else ""
            return f"Contacted by {details['channel']} ({details['purpose']}){answer}"
        case JourneyKind.EVENT:
            product = details["product_name"] or details["product_id"]
            return f"{details['event_type']}: {product}" if product else details["event_type"]
        case JourneyKind.FEEDBACK:
            score = details["score"]
            given = "" if score is None else f", score {score}"
            return f"Gave feedback ({details['feedback_kind']}{given})"
        case JourneyKind.ORDER:
            return f"Order {details['status']}"
        case JourneyKind.STANDING:
            return f"Standing became {details['rfm_segment'] or details['lifecycle_segment']}"
