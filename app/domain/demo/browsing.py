"""What customers do in the app and on the pages: sessions, some with an order at their end."""

import numpy as np

from app.domain.demo import catalogue
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
    within,
)
from app.domain.demo.sales import Sales

_TRACKED = np.timedelta64(120, "D")
_SESSIONS_A_YEAR = 9.0
_LEFT_CARTS = 0.22
_BOUNCES = 0.3
_MOST_LOOKS = 5
_LONGEST_PAUSE = 240

_DEVICES = Mix.of({"mobile": 78, "desktop": 17, "tablet": 5})
_SYSTEMS = {"mobile": "Android", "desktop": "Windows", "tablet": "iOS"}
_BROWSERS = {"mobile": "Chrome Mobile", "desktop": "Chrome", "tablet": "Mobile Safari"}
_YEAR = 365.25 * 86_400

#: The steps of a session, as numbers: what an order ends with comes last.
_PAGE, _PRODUCT, _CART, _PURCHASE = range(4)
_TYPES = np.array(["page_view", "product_view", "add_to_cart", "purchase"])


def event_columns(
    rng: np.random.Generator, sales: Sales, customers: Columns, numbers: Ints, end: np.datetime64
) -> Columns:
    """Events of the last months, by customer: each online order, and what was looked at besides.

    A session begins with a page, goes on to some products, may fill a cart, and ends with the
    purchase where there is one.
    """
    begins = end - _TRACKED
    bought = np.flatnonzero(
        np.ma.getmaskarray(sales.orders["store_no"]) & (sales.ordered_at >= begins)
    )
    idle_owner, idle_end = _idle(rng, customers, begins, end)
    owner = np.concatenate([sales.owner[bought], idle_owner])
    finished = np.concatenate([sales.ordered_at[bought], idle_end])
    buys = np.arange(len(owner)) < len(bought)
    value = np.concatenate([sales.orders["total_amount"][bought], np.zeros(len(idle_owner), int)])

    looks = rng.integers(1, _MOST_LOOKS + 1, len(owner))
    looks = np.where(~buys & (rng.random(len(owner)) < _BOUNCES), 0, looks)
    fills = buys | ((looks > 0) & (rng.random(len(owner)) < _LEFT_CARTS))
    steps = 1 + looks + fills + buys
    session = np.repeat(np.arange(len(owner)), steps)
    place = within(steps)
    kind = _kinds(place, looks[session], fills[session])
    occurred = _moments(rng, session, place, steps, finished)

    category = rng.integers(0, len(catalogue.CATEGORIES), len(owner))[session]
    rung = rng.integers(0, catalogue.PRODUCT_IDS.shape[1], len(session))
    nothing = kind == _PAGE
    device = _DEVICES.draw(rng, len(numbers))[owner[session]]
    by_time = np.lexsort((place, occurred, owner[session]))
    columns: Columns = {
        "customer_no": owner[session],
        "occurred_at": occurred,
        "event_type": _TYPES[kind],
        "event_category": np.where(device == "desktop", "website", "mobile_app"),
        "product_id": missing(catalogue.PRODUCT_IDS[category, rung], nothing),
        "product_name": missing(catalogue.NAMES[category, rung], nothing),
        "product_category": missing(catalogue.CATEGORIES[category], nothing),
        "event_value": missing(value[session], kind != _PURCHASE),
        "device_type": device,
        "browser": _of_device(device, _BROWSERS),
        "os": _of_device(device, _SYSTEMS),
        "session_id": np.strings.add(
            numbered("ses-", numbers[owner[session]], 7), numbered("-", session, 7)
        ),
    }
    columns = {name: column[by_time] for name, column in columns.items()}
    counts = np.bincount(columns["customer_no"], minlength=len(numbers))
    owners = numbered("evt-", numbers[columns["customer_no"]], 7)
    return {"id": np.strings.add(owners, numbered("-", within(counts) + 1, 5)), **columns}


def _idle(
    rng: np.random.Generator, customers: Columns, begins: np.datetime64, end: np.datetime64
) -> tuple[Ints, Instants]:
    """Sessions without an order: whose, and when they end; none before their customer joined."""
    since = np.maximum(customers["created_at"], begins)
    tenure: Floats = np.maximum((end - since).astype(np.float64) - _LONGEST_PAUSE * 10, 0.0)
    counts = rng.poisson(_SESSIONS_A_YEAR * tenure / _YEAR)
    owner = np.repeat(np.arange(len(counts)), counts)
    passed = rng.random(len(owner)) * tenure[owner] + _LONGEST_PAUSE * 9
    return owner, since[owner] + passed.astype("timedelta64[s]")


def _kinds(place: Ints, looks: Ints, fills: Flags) -> Ints:
    """What each step of a session is, by its place in it."""
    kind = np.where(place <= looks, _PRODUCT, np.where(fills & (place == looks + 1), _CART, -1))
    kind = np.where(kind == -1, _PURCHASE, kind)
    return np.where(place == 0, _PAGE, kind)


def _moments(
    rng: np.random.Generator, session: Ints, place: Ints, steps: Ints, finished: Instants
) -> Instants:
    """When each step was taken, counted back from the end of its session."""
    pause = rng.integers(5, _LONGEST_PAUSE, len(session))
    passed = np.cumsum(pause)
    ends = np.cumsum(steps) - 1
    left = passed[ends][session] - passed
    moments: Instants = finished[session] - left.astype("timedelta64[s]")
    return moments


def _of_device(device: Texts, names: dict[str, str]) -> Texts:
    return np.select([device == kind for kind in names], list(names.values()), default="")
