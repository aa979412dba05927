"""What a contact with a customer is."""

from enum import StrEnum


class Channel(StrEnum):
    """How a customer was contacted."""

    WHATSAPP = "whatsapp"
    EMAIL = "email"
    PHONE = "phone"
    VISIT = "visit"


class Purpose(StrEnum):
    """What a customer was contacted for."""

    PROMO = "promo"
    FOLLOW_UP = "follow_up"
    SUPPORT = "support"
    SURVEY = "survey"
