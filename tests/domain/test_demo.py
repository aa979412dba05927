"""The made-up business: the same every time, of the size asked for, and believable."""

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import date, timedelta

import numpy as np
import pytest

from app.domain.demo import season
from app.domain.demo.business import Chunk, generate
from app.domain.demo.columns import Column, Columns
from app.domain.demo.geography import METRES_PER_DEGREE
from app.domain.demo.options import CHUNK, DemoOptions
from app.domain.feedback import SCORES, FeedbackKind

AS_OF = date(2025, 6, 30)
FIRST_INSTANT = np.datetime64("2023-06-30T17:00:00")  # midnight in Jakarta, 730 days before
LAST_INSTANT = np.datetime64("2025-06-29T17:00:00")
SMALL = DemoOptions(as_of=AS_OF, customers=2_000)
LARGE = DemoOptions(
    as_of=AS_OF,
    customers=2 * CHUNK + 500,
    with_items=False,
    with_engagement=False,
    with_places=False,
    with_events=False,
)


@pytest.fixture(scope="module")
def shop() -> Chunk:
    (chunk,) = generate(SMALL)
    return chunk


@pytest.fixture(scope="module")
def chain() -> list[Chunk]:
    return list(generate(LARGE))


def every_column(chunk: Chunk) -> Iterator[tuple[str, Column]]:
    for field in fields(chunk):
        columns: Columns | None = getattr(chunk, field.name)
        for name, column in (columns or {}).items():
            yield f"{field.name}.{name}", column


def as_bytes(column: Column) -> bytes:
    return np.ma.getdata(column).tobytes() + np.ma.getmaskarray(column).tobytes()


def orders_per_customer(chunk: Chunk) -> Column:
    return np.bincount(chunk.orders["customer_no"], minlength=len(chunk.customers["id"]))


def test_same_options_give_the_same_bytes(shop: Chunk) -> None:
    (again,) = generate(SMALL)
    first, second = dict(every_column(shop)), dict(every_column(again))
    assert first.keys() == second.keys()
    for name, column in first.items():
        assert as_bytes(column) == as_bytes(second[name]), name


def test_another_seed_gives_another_business(shop: Chunk) -> None:
    (other,) = generate(replace(SMALL, seed=1))
    assert as_bytes(other.customers["name"]) != as_bytes(shop.customers["name"])


def test_customers_come_in_bounded_chunks_with_ids_of_their_own(chain: list[Chunk]) -> None:
    assert [len(chunk.customers["id"]) for chunk in chain] == [CHUNK, CHUNK, 500]
    for noun in ("customers", "orders", "addresses"):
        ids = np.concatenate([getattr(chunk, noun)["id"] for chunk in chain])
        assert len(np.unique(ids)) == len(ids), noun
    phones = np.ma.concatenate([chunk.customers["phone"] for chunk in chain]).compressed()  # type: ignore[no-untyped-call]
    assert len(np.unique(phones)) == len(phones)


@pytest.mark.parametrize("wanted", [2.0, 10.0])
def test_orders_per_customer_are_those_asked_for(wanted: float) -> None:
    chunks = list(generate(replace(LARGE, orders_per_customer=wanted)))
    orders = sum(len(chunk.orders["id"]) for chunk in chunks)
    assert orders / LARGE.customers == pytest.approx(wanted, rel=0.05)


def test_what_the_options_leave_out_is_absent(chain: list[Chunk]) -> None:
    for chunk in chain:
        assert chunk.order_items is None
        assert chunk.contacts is None
        assert chunk.feedback is None
        assert chunk.location_history is None
        assert chunk.events is None


@pytest.mark.parametrize(
    "wrong",
    [{"customers": 0}, {"orders_per_customer": 1.0}, {"orders_per_customer": 31}, {"days": 7}],
)
def test_impossible_sizes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DemoOptions(as_of=AS_OF, **wrong)  # type: ignore[arg-type]


def test_customers_come_back_or_leave_as_in_a_real_shop(chain: list[Chunk]) -> None:
    chunk = chain[0]
    assert 0.7 < (orders_per_customer(chunk) > 1).mean() < 0.9
    last = np.full(CHUNK, FIRST_INSTANT)
    np.maximum.at(last, chunk.orders["customer_no"], chunk.orders["ordered_at"])
    active = (LAST_INSTANT - last < np.timedelta64(90, "D")).mean()
    assert 0.3 < active < 0.55


def test_tickets_are_those_of_the_business(shop: Chunk) -> None:
    wholesale = (shop.customers["customer_type"] == "wholesale")[shop.orders["customer_no"]]
    rupiah = shop.orders["total_amount"] / 100
    assert 180_000 < np.median(rupiah[~wholesale]) < 400_000
    assert np.median(rupiah[wholesale]) > 2_000_000
    assert 0.06 < (shop.customers["customer_type"] == "wholesale").mean() < 0.10


def test_an_order_adds_up(shop: Chunk) -> None:
    orders, items = shop.orders, shop.order_items
    assert items is not None
    value = items["quantity"] * items["unit_price"]
    size = len(orders["id"])

    def per_order(amounts: Column) -> Column:
        return np.bincount(items["order_no"], weights=amounts, minlength=size).astype(np.int64)

    gross = orders["total_amount"] + orders["discount_amount"]
    assert (per_order(value) == gross).all()
    assert (per_order(items["discount_amount"]) == orders["discount_amount"]).all()
    assert (per_order(items["quantity"]) == orders["item_count"]).all()
    assert (items["discount_amount"] <= value).all()
    lines = np.bincount(items["order_no"])
    assert (lines.min(), lines.max()) == (1, 6)


def test_statuses_and_refunds_agree(chain: list[Chunk]) -> None:
    orders = chain[0].orders
    status, refund, total = orders["status"], orders["refund_amount"], orders["total_amount"]
    for name, share in (("cancelled", 0.04), ("no_show", 0.01), ("refunded", 0.015)):
        assert (status == name).mean() == pytest.approx(share, rel=0.15), name
    assert (refund[status == "refunded"] == total[status == "refunded"]).all()
    assert (refund[np.isin(status, ["cancelled", "no_show", "pending", "accepted"])] == 0).all()
    partial = (status == "completed") & (refund > 0)
    assert partial.any()
    assert (refund[partial] < total[partial]).all()
    pending = orders["ordered_at"][status == "pending"]
    assert len(pending) > 0
    assert pending.min() >= LAST_INSTANT - np.timedelta64(3, "D")


def test_nothing_happens_outside_history(shop: Chunk) -> None:
    for name, column in every_column(shop):
        if column.dtype == np.dtype("datetime64[s]"):
            instants = np.ma.getdata(column)[~np.ma.getmaskarray(column)]
            assert instants.min() >= FIRST_INSTANT, name
            assert instants.max() < LAST_INSTANT, name


def test_a_customer_begins_with_the_first_order(shop: Chunk) -> None:
    first = np.full(len(shop.customers["id"]), LAST_INSTANT)
    np.minimum.at(first, shop.orders["customer_no"], shop.orders["ordered_at"])
    assert (shop.customers["created_at"] == first).all()
    assert shop.contacts is not None
    joined = first[shop.contacts["customer_no"]]
    assert (shop.contacts["sent_at"] >= joined).all()


def test_referrals_form_a_forest(shop: Chunk) -> None:
    referrer = shop.customers["referrer_no"]
    referred = np.flatnonzero(~np.ma.getmaskarray(referrer))
    assert 0.1 < len(referred) / len(referrer) < 0.25
    assert (referrer[referred] < referred).all()
    assert (shop.customers["acquisition_source"][referred] == "referral").all()


def test_only_firms_have_terms_of_credit(shop: Chunk) -> None:
    customers = shop.customers
    retail = customers["customer_type"] == "retail"
    for name in ("company_name", "npwp", "credit_limit", "payment_term_days"):
        assert np.ma.getmaskarray(customers[name])[retail].all(), name
    assert not np.ma.getmaskarray(customers["company_name"])[~retail].any()
    assert (customers["credit_used"] <= customers["credit_limit"])[~retail].all()


def test_evenings_and_weekends_sell_most(chain: list[Chunk]) -> None:
    orders = chain[0].orders
    local = (orders["ordered_at"] + season.LOCAL_OFFSET)[orders["channel"] == "store"]
    hours = np.bincount(local.astype("datetime64[h]").astype(np.int64) % 24, minlength=24)
    assert hours[:8].sum() == hours[22:].sum() == 0
    assert hours[17:21].sum() > hours[10:14].sum()
    days = np.bincount(season.weekdays(local.astype("datetime64[D]")), minlength=7)
    assert min(days[5], days[6]) > max(days[:4])


def test_discounts_come_on_sale_days(chain: list[Chunk]) -> None:
    orders = chain[0].orders
    local = (orders["ordered_at"] + season.LOCAL_OFFSET).astype("datetime64[D]")
    on_sale = season.sale_days(local)
    discounted = orders["discount_amount"] > 0
    assert discounted[on_sale].mean() > 3 * discounted[~on_sale].mean()


@pytest.mark.parametrize(
    "announced",
    [date(2023, 4, 22), date(2024, 4, 10), date(2025, 3, 31), date(2026, 3, 20)],
)
def test_lebaran_is_near_the_announced_day(announced: date) -> None:
    day = np.array([announced], dtype="datetime64[D]")
    assert abs(int(season.days_to_lebaran(day)[0])) <= 1
    assert season.day_weights(day - 10)[0] > 1.3 * season.day_weights(day - 45)[0]


def test_sale_days_follow_payday_and_twin_dates() -> None:
    days = np.array(["2024-11-11", "2024-11-25", "2024-12-01", "2024-11-13"], dtype="datetime64[D]")
    assert season.sale_days(days).tolist() == [True, True, True, False]


def test_trips_move_at_the_speed_of_traffic(shop: Chunk) -> None:
    fixes = shop.location_history
    assert fixes is not None
    app = fixes["source"] == "gps"
    trip = np.strings.slice(fixes["id"][app], 0, 17)
    metres = np.hypot(np.diff(fixes["latitude"][app]), np.diff(fixes["longitude"][app]))
    metres *= METRES_PER_DEGREE
    seconds = np.diff(fixes["captured_at"][app]).astype(np.int64)
    same = trip[1:] == trip[:-1]
    assert same.sum() > 1_000
    assert (seconds[same] > 0).all()
    assert (metres[same] / seconds[same]).max() < 16.0
    visits = fixes["source"] == "checkin"
    assert not np.ma.getmaskarray(fixes["visit_type"])[visits].any()
    wholesale = shop.customers["customer_type"] == "wholesale"
    assert wholesale[fixes["customer_no"][visits]].all()


def test_everything_lies_in_greater_jakarta(shop: Chunk) -> None:
    assert shop.location_history is not None
    for places in (shop.addresses, shop.location_history):
        assert ((places["latitude"] > -6.75) & (places["latitude"] < -6.0)).all()
        assert ((places["longitude"] > 106.4) & (places["longitude"] < 107.2)).all()


def test_unhappy_customers_complain() -> None:
    (chunk,) = generate(replace(SMALL, customers=CHUNK, with_items=False, with_places=False))
    feedback = chunk.feedback
    assert feedback is not None
    complained = np.unique(feedback["customer_no"][feedback["kind"] == "complaint"])
    scored = feedback["kind"] == "nps"
    unhappy = np.isin(feedback["customer_no"], complained)
    scores = feedback["score"]
    assert scores[scored & unhappy].mean() < scores[scored & ~unhappy].mean()
    for kind, (lowest, highest) in SCORES.items():
        given = scores[feedback["kind"] == kind]
        assert lowest <= given.min() <= given.max() <= highest, kind
    assert scores[feedback["kind"] == FeedbackKind.CSAT].max() > 5
    assert np.ma.getmaskarray(scores)[feedback["kind"] == FeedbackKind.COMPLAINT].all()


@pytest.mark.parametrize("customers", [1, 2, 7])
def test_a_handful_of_customers_is_a_business_too(customers: int) -> None:
    for seed in range(10):
        (chunk,) = generate(replace(SMALL, customers=customers, days=30, seed=seed))
        assert len(chunk.customers["id"]) == customers
        assert (orders_per_customer(chunk) > 0).all()


def test_history_may_end_on_any_day() -> None:
    (today,) = generate(replace(LARGE, customers=100, as_of=AS_OF + timedelta(days=400)))
    assert today.orders["ordered_at"].max() < LAST_INSTANT + np.timedelta64(400, "D")


def test_a_session_begins_with_a_page_and_an_online_order_ends_with_its_purchase(
    shop: Chunk,
) -> None:
    events = shop.events
    assert events is not None
    sessions: dict[str, list[tuple[np.datetime64, str]]] = {}
    for session, moment, kind in zip(
        events["session_id"], events["occurred_at"], events["event_type"], strict=True
    ):
        sessions.setdefault(session, []).append((moment, kind))
    for steps in sessions.values():
        assert [moment for moment, _ in steps] == sorted(moment for moment, _ in steps)
        assert [kind for _, kind in steps].count("page_view") == 1
        assert steps[0][1] == "page_view"
        assert all(kind != "purchase" for _, kind in steps[:-1])
    bought = events["event_type"] == "purchase"
    online = np.ma.getmaskarray(shop.orders["store_no"])
    since = events["occurred_at"].min()
    placed = set(shop.orders["ordered_at"][online & (shop.orders["ordered_at"] > since)].tolist())
    assert placed <= set(events["occurred_at"][bought].tolist())
    joined = shop.customers["created_at"][events["customer_no"]]
    early = set(events["session_id"][events["occurred_at"] < joined].tolist())
    # Who buys online for the first time has looked around before.
    assert early <= set(events["session_id"][bought].tolist())
    assert len(set(events["id"].tolist())) == len(events["id"])
