"""Where customers move: trips recorded by the app, and visits of the sales force."""

from dataclasses import dataclass

import numpy as np

from app.domain.demo.columns import (
    Columns,
    Floats,
    Instants,
    Ints,
    Mix,
    missing,
    numbered,
    stacked,
    within,
)
from app.domain.demo.geography import (
    DISTRICT_CENTRES,
    METRES_PER_DEGREE,
    STORE_POINTS,
    Homes,
    scatter,
)
from app.domain.demo.population import Shoppers, Trade
from app.domain.demo.season import instants

TRACKED_SHARE = 0.03
"""Of retail customers, who let the app follow their trips."""

_TRACKED_DAYS = 60
_TRIPS_A_CUSTOMER = 4.0
_VISITS_A_YEAR = 3.0
_DETOUR = 1.35  # a way by road, against the straight line
_FIX_SECONDS = 120

_VISIT_TYPES = Mix.of({"sales_visit": 58, "delivery": 32, "survey": 10})
_VISIT_NOTES = Mix.of(
    {
        "Stok mainan hampir habis, pesan minggu depan": 4,
        "Pemilik tidak di tempat": 2,
        "Minta katalog baru": 3,
        "Barang diterima lengkap": 4,
        "Menanyakan tempo pembayaran": 2,
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class _Trips:
    """One row a trip: whose, and its knots, the moments (seconds) at which it reaches each point.

    A point held from one knot to the next is a stay.
    """

    owner: Ints
    departure: Instants
    points: Floats  # trip, knot, (latitude, longitude)
    moments: Floats  # trip, knot


def location_columns(
    rng: np.random.Generator, shoppers: Shoppers, homes: Homes, numbers: Ints, trade: Trade
) -> Columns:
    """Every fix of the chunk's customers: app traces of a sample, then visits to wholesale ones."""
    traces = _trace_columns(rng, _plan_trips(rng, shoppers, homes, trade), numbers)
    visits = _visit_columns(rng, shoppers, homes, numbers, trade)
    return {name: stacked(traces[name], visits[name]) for name in traces}


def _plan_trips(rng: np.random.Generator, shoppers: Shoppers, homes: Homes, trade: Trade) -> _Trips:
    """Home, school, the usual store and home again, each way round by the districts between."""
    known_days = len(trade.days) - 2 - trade.day_at(shoppers.joined)
    tracked = np.flatnonzero(
        ~shoppers.wholesale & (known_days > 0) & (rng.random(len(known_days)) < TRACKED_SHARE)
    )
    owner = np.repeat(tracked, 1 + rng.poisson(_TRIPS_A_CUSTOMER - 1.0, len(tracked)))
    home = homes.point[owner]
    # A school stays where it is: it is drawn once a customer.
    school = scatter(rng, homes.point, metres=1_200.0)[owner]
    store = scatter(rng, STORE_POINTS[homes.store[owner]], metres=40.0)
    via = _between(rng, school, store)
    back = _between(rng, store, home)
    points = np.stack([home, school, school, via, store, store, back, home], axis=1)
    metres = np.hypot(*np.moveaxis(np.diff(points, axis=1), 2, 0)) * METRES_PER_DEGREE * _DETOUR
    speed = rng.uniform(4.0, 11.0, (len(owner), 1))
    spent = metres / speed
    spent[:, 1] = rng.uniform(300.0, 1_200.0, len(owner))
    spent[:, 4] = rng.uniform(1_200.0, 6_000.0, len(owner))
    moments = np.concatenate([np.zeros((len(owner), 1)), np.cumsum(spent, axis=1)], axis=1)
    # The last day has no trips, so that every trip is over when history ends.
    day = len(trade.days) - 1 - rng.integers(1, np.minimum(known_days[owner], _TRACKED_DAYS) + 1)
    start = rng.integers(int(7.0 * 3_600), int(15.5 * 3_600), len(owner))
    departure = instants(trade.days[day], start)
    by_time = np.lexsort((departure, owner))
    return _Trips(owner[by_time], departure[by_time], points[by_time], moments[by_time])


def _between(rng: np.random.Generator, start: Floats, goal: Floats) -> Floats:
    """The centre of the district nearest to a point half way, so that ways follow districts."""
    middle = start + (goal - start) * rng.uniform(0.35, 0.65, (len(start), 1))
    gaps = middle[:, None, :] - DISTRICT_CENTRES[None, :, :]
    nearest = np.hypot(gaps[:, :, 0], gaps[:, :, 1]).argmin(axis=1)
    # Half the pull of the centre: main roads pass districts, they do not all cross in the middle.
    drawn: Floats = (middle + DISTRICT_CENTRES[nearest]) / 2.0
    return drawn


def _trace_columns(rng: np.random.Generator, trips: _Trips, numbers: Ints) -> Columns:
    counts = (trips.moments[:, -1] // _FIX_SECONDS).astype(np.int64) + 1
    trip = np.repeat(np.arange(len(counts)), counts)
    moment = within(counts) * float(_FIX_SECONDS)
    leg = (trips.moments[trip, 1:-1] <= moment[:, None]).sum(axis=1)
    begun, reached = trips.moments[trip, leg], trips.moments[trip, leg + 1]
    start, goal = trips.points[trip, leg], trips.points[trip, leg + 1]
    duration = np.maximum(reached - begun, 1.0)
    position = start + (goal - start) * ((moment - begun) / duration)[:, None]
    north, east = ((goal - start) * METRES_PER_DEGREE).T
    speed = np.hypot(north, east) * _DETOUR / duration
    moving = speed > 0.0
    accuracy = np.round(rng.lognormal(2.2, 0.5, len(trip)), 1)
    # Receivers stand off by about their accuracy; far outliers are the server's to judge.
    jitter = np.clip(rng.normal(0.0, 1.0, position.shape), -2.0, 2.0)
    position = np.round(position + jitter * accuracy[:, None] / 2.0 / METRES_PER_DEGREE, 6)
    owner = trips.owner[trip]
    device = numbered("app-", numbers[owner], 7)
    fix_ids = np.strings.add(
        np.strings.add(numbered("gps-", numbers[owner], 7), numbered("-", trip, 5)),
        numbered("-", within(counts), 3),
    )
    nowhere = np.ones(len(trip), dtype=bool)
    nothing = missing(np.full(len(trip), ""), nowhere)
    return {
        "id": fix_ids,
        "customer_no": owner,
        "captured_at": trips.departure[trip] + moment.astype("timedelta64[s]"),
        "latitude": position[:, 0],
        "longitude": position[:, 1],
        "accuracy": accuracy,
        "altitude": np.round(rng.normal(22.0, 8.0, len(trip)), 1),
        "speed": np.round(speed * rng.uniform(0.85, 1.15, len(trip)), 2),
        "heading": missing(
            np.round(np.degrees(np.arctan2(east, north)) % 360.0, 1) % 360.0, ~moving
        ),
        "source": np.full(len(trip), "gps"),
        "captured_by": nothing,
        "device_id": device,
        "visit_type": nothing,
        "visit_notes": nothing,
    }


def _visit_columns(
    rng: np.random.Generator, shoppers: Shoppers, homes: Homes, numbers: Ints, trade: Trade
) -> Columns:
    """Check-ins of employees at wholesale customers, in working hours since they joined."""
    first_day = trade.day_at(shoppers.joined)
    tenure = len(trade.days) - 1 - first_day
    visits = rng.poisson(_VISITS_A_YEAR * tenure / 365.25)
    counts = np.where(shoppers.wholesale & (tenure > 0), visits, 0)
    owner = np.repeat(np.arange(len(counts)), counts)
    size = len(owner)
    day = first_day[owner] + 1 + np.floor(rng.random(size) * tenure[owner]).astype(np.int64)
    seconds = rng.integers(9 * 3_600, 17 * 3_600, size)
    point = scatter(rng, homes.point[owner], metres=12.0)
    employee = homes.store[owner] * 4 + rng.integers(1, 5, size)
    still = np.ones(size, dtype=bool)
    return {
        "id": np.strings.add(
            numbered("visit-", numbers[owner], 7), numbered("-", within(counts), 3)
        ),
        "customer_no": owner,
        "captured_at": instants(trade.days[day], seconds),
        "latitude": point[:, 0],
        "longitude": point[:, 1],
        "accuracy": np.round(rng.lognormal(1.9, 0.4, size), 1),
        "altitude": missing(np.zeros(size), still),
        "speed": np.zeros(size),
        "heading": missing(np.zeros(size), still),
        "source": np.full(size, "checkin"),
        "captured_by": numbered("emp-", employee, 3),
        "device_id": numbered("field-", employee, 3),
        "visit_type": _VISIT_TYPES.draw(rng, size),
        "visit_notes": missing(_VISIT_NOTES.draw(rng, size), rng.random(size) < 0.45),
    }
