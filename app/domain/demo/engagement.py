"""What the business and its customers say to each other: contacts and feedback."""

import numpy as np

from app.domain.demo.columns import (
    Columns,
    Flags,
    Floats,
    Instants,
    Ints,
    Mix,
    Texts,
    missing,
    numbered,
    sticky,
    within,
)
from app.domain.demo.population import Shoppers
from app.domain.demo.sales import Sales
from app.domain.demo.season import LOCAL_OFFSET, instants

_PURPOSES = Mix.of({"promo": 55, "follow_up": 22, "support": 9, "survey": 14})
_CHANNELS = Mix.of({"whatsapp": 62, "email": 22, "phone": 13, "visit": 3})
_EAGERNESS = {"whatsapp": 1.0, "email": 0.45, "phone": 1.15, "visit": 1.35}
_CONTACTS_A_YEAR = 4.0
_CONVERSION = 0.3
_KINDS = Mix.of({"nps": 42, "csat": 36, "review": 22})
_FEEDBACK_PER_ORDER, _COMPLAINTS_PER_ORDER = 0.06, 0.05

_COMMENTS = np.array(
    [
        ["Pelayanan lambat", "Barang datang rusak", "Antre terlalu lama", "Ukuran tidak sesuai"],
        ["Cukup baik", "Stok warna sering kosong", "Harga standar", "Pengiriman bisa lebih cepat"],
        ["Anak saya suka sekali", "Pasti belanja lagi", "Kasir ramah", "Pengiriman cepat"],
    ]
)
_YEAR = 365.25 * 86_400


def draw_satisfaction(rng: np.random.Generator, shoppers: Shoppers) -> Floats:
    """How content each customer is, 0 to 1: those likely to leave are the less content."""
    return np.clip(rng.normal(0.86 - 0.9 * shoppers.leaving, 0.11), 0.02, 0.99)


def contact_columns(
    rng: np.random.Generator,
    satisfaction: Floats,
    customers: Columns,
    numbers: Ints,
    end: np.datetime64,
) -> Columns:
    """Messages, calls and visits to each customer from joining on, in the order of time.

    Content customers answer more often; an answer that would come after `end` has not come yet.
    """
    size = len(numbers)
    joined = customers["created_at"]
    tenure = (end - joined).astype(np.float64)
    counts = rng.poisson(_CONTACTS_A_YEAR * tenure / _YEAR)
    owner = np.repeat(np.arange(size), counts)
    share = np.sort(owner + rng.random(len(owner))) - owner
    sent = joined[owner] + (share * tenure[owner]).astype("timedelta64[s]")
    sent = np.minimum(_office_hours(rng, sent), end - np.timedelta64(1, "s"))
    sent = np.maximum(sent, joined[owner])
    channel = _channels(rng, customers, owner)
    inclination = rng.beta(2.0, 3.0, size) * (0.35 + satisfaction)
    eagerness = np.select([channel == name for name in _EAGERNESS], list(_EAGERNESS.values()))
    answered_at = sent + (rng.lognormal(8.6, 1.4, len(owner)) + 30.0).astype("timedelta64[s]")
    answered = (rng.random(len(owner)) < inclination[owner] * eagerness) & (answered_at < end)
    by_time = np.lexsort((sent, owner))
    columns: Columns = {
        "customer_no": owner,
        "channel": channel,
        "purpose": _PURPOSES.draw(rng, len(owner)),
        "sent_at": sent,
        "responded_at": missing(answered_at, ~answered),
        "converted": answered & (rng.random(len(owner)) < _CONVERSION),
    }
    columns = {name: column[by_time] for name, column in columns.items()}
    return {"id": _ids("con-", numbers, owner, counts), **columns}


def feedback_columns(
    rng: np.random.Generator,
    satisfaction: Floats,
    sales: Sales,
    numbers: Ints,
    end: np.datetime64,
) -> Columns:
    """Scores (NPS 0 to 10, CSAT 1 to 10, reviews 1 to 5) and complaints, days after an order."""
    content = np.clip(satisfaction[sales.owner] + rng.normal(0.0, 0.13, len(sales.owner)), 0.0, 1.0)
    unhappy = np.clip(1.0 - content, 0.0, 1.0)
    chance = np.where(sales.completed, 1.0, 1.6) * _COMPLAINTS_PER_ORDER * unhappy
    complains = rng.random(len(content)) < chance
    speaks = rng.random(len(content)) < _FEEDBACK_PER_ORDER
    delay = rng.integers(3_600, 6 * 86_400, len(content))
    given = sales.ordered_at + delay.astype("timedelta64[s]")
    told = np.flatnonzero((complains | speaks & sales.completed) & (given < end))
    kind = np.where(complains[told], "complaint", _KINDS.draw(rng, len(told)))
    owner, level = sales.owner[told], content[told]
    level = np.where(kind == "complaint", level * 0.5, level)
    lowest = np.where(kind == "nps", 0.0, 1.0)
    highest = np.where(kind == "review", 5.0, 10.0)
    score = lowest + np.rint(level * (highest - lowest))
    mood = np.clip((level * 3.0).astype(np.int64), 0, 2)
    phrase = rng.integers(0, _COMMENTS.shape[1], len(told))
    counts = np.bincount(owner, minlength=len(numbers))
    return {
        "id": _ids("fb-", numbers, owner, counts),
        "customer_no": owner,
        "store_no": sales.orders["store_no"][told],
        "kind": kind,
        "score": missing(score.astype(np.int64), kind == "complaint"),
        "sentiment": np.round(np.clip(2.0 * level - 1.0, -1.0, 1.0), 2),
        "comment": missing(
            _COMMENTS[mood, phrase], (kind != "complaint") & (rng.random(len(told)) < 0.4)
        ),
        "given_at": given[told],
    }


def _channels(rng: np.random.Generator, customers: Columns, owner: Ints) -> Texts:
    """Mostly the preferred channel; by WhatsApp and e-mail only where the customer agreed."""
    fresh = _CHANNELS.at(sticky(rng, rng.random(len(customers["id"])), owner, 0.3))
    preferred = customers["preferred_contact_channel"][owner]
    channel = np.where(rng.random(len(owner)) < 0.55, preferred, fresh)
    refused: Flags = ((channel == "whatsapp") & ~customers["opt_in_whatsapp"][owner]) | (
        (channel == "email") & ~customers["opt_in_email"][owner]
    )
    return np.where(refused, "phone", channel)


def _office_hours(rng: np.random.Generator, sent: Instants) -> Instants:
    local_day = (sent + LOCAL_OFFSET).astype("datetime64[D]")
    return instants(local_day, rng.integers(9 * 3_600, 18 * 3_600, len(sent)))


def _ids(prefix: str, numbers: Ints, owner: Ints, counts: Ints) -> Texts:
    customer = numbered(prefix, numbers[owner], 7)
    return np.strings.add(np.strings.add(customer, "-"), numbered("", within(counts) + 1, 3))
