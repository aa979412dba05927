"""The script that such a service replaces: read the orders, rank in pandas, write back row by row.

It fills the columns that a run of the service fills (but for notes, favourites, contacts and
feedback, of which the measured business has none), as such scripts are written: vectors where
pandas has them, a function a group or a row where it has not, and one UPDATE a customer, each
committed by itself.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
import pandas as pd
from sqlalchemy import Integer, bindparam, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.database import asyncpg_url
from app.repositories.tables import customer_analytics

QUINTILES = {"recency": [5, 4, 3, 2, 1], "frequency": [1, 2, 3, 4, 5], "monetary": [1, 2, 3, 4, 5]}
STATUSES = ("pending", "accepted", "completed", "cancelled", "no_show", "refunded")
COLUMNS = (
    "customer_sk",
    "store_sk",
    "status",
    "ordered_at",
    "local_at",
    "local_weekday",
    "local_hour",
    "counted",
    "net_amount",
    "refund_amount",
    "discount_amount",
    "payment_method",
    "item_count",
)


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds, and the rows that were written of those that there were to write."""

    read: float
    computed: float
    written: float
    rows: int
    rows_written: int

    @property
    def total(self) -> float:
        """Seconds for all rows; each update is a statement like the one before."""
        return self.read + self.computed + self.written * self.rows / self.rows_written


async def run(url: str, tenant_id: int, as_of: datetime, *, rows_written: int) -> Taken:
    """Score every customer of the tenant, and write back the first `rows_written` of them."""
    connection = await asyncpg.connect(url)
    try:
        started = time.perf_counter()
        orders = await _read(connection, tenant_id, as_of)
        customers = await _read_customers(connection, tenant_id)
        read = time.perf_counter()
        scores = _score(orders, customers, as_of)
        computed = time.perf_counter()
        written = scores.head(rows_written)
        await _write(url, tenant_id, written)
        ended = time.perf_counter()
    finally:
        await connection.close()
    return Taken(read - started, computed - read, ended - computed, len(scores), len(written))


async def _read(connection: asyncpg.Connection, tenant_id: int, as_of: datetime) -> pd.DataFrame:
    rows = await connection.fetch(
        f"SELECT {', '.join(COLUMNS)} FROM orders WHERE tenant_id = $1 AND ordered_at < $2",
        tenant_id,
        as_of,
    )
    return pd.DataFrame([tuple(row) for row in rows], columns=list(COLUMNS))


async def _read_customers(connection: asyncpg.Connection, tenant_id: int) -> pd.DataFrame:
    columns = ["sk", "referred_by_sk", "loyalty_points", "gender", "date_of_birth", "age_estimate"]
    rows = await connection.fetch(
        f"SELECT {', '.join(columns)} FROM customers WHERE tenant_id = $1", tenant_id
    )
    return pd.DataFrame([tuple(row) for row in rows], columns=columns).set_index("sk")


def _score(orders: pd.DataFrame, customers: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    scores = _totals(orders, as_of)
    _rhythm(scores)
    _rfm(scores)
    _lifetime_value(scores)
    _churn(scores)
    _people(scores, customers, as_of)
    _next_purchase(scores, as_of)
    return scores


def _people(scores: pd.DataFrame, customers: pd.DataFrame, as_of: datetime) -> None:
    known = customers.reindex(scores.index)
    scores["loyalty_points"], scores["gender"] = known["loyalty_points"], known["gender"]
    today = pd.Timestamp(as_of).tz_convert("Asia/Jakarta").tz_localize(None)
    ages = (today - pd.to_datetime(known["date_of_birth"])).dt.days // 365.25
    scores["age_group"] = pd.cut(
        pd.to_numeric(ages.fillna(known["age_estimate"])),
        [-1, 17, 25, 35, 45, 200],
        labels=["under_18", "18-25", "26-35", "36-45", "46+"],
    ).astype(object)
    brought = customers[customers["referred_by_sk"].notna()]
    revenue = scores["revenue"].reindex(brought.index).groupby(brought["referred_by_sk"])
    scores["referred_customers"] = brought.groupby("referred_by_sk").size()
    scores["referral_revenue"] = revenue.sum()
    both = ["referred_customers", "referral_revenue"]
    scores[both] = scores[both].fillna(0)
    scores["influence_score"] = 100 * (
        0.4 * (scores["referred_customers"] / 20).clip(upper=1)
        + 0.4 * (scores["referral_revenue"] / 1e10).clip(0, 1)
    )
    median = scores["rfm_monetary"][scores["orders_365d"] > 0].median()
    scores["spending_level"] = np.where(scores["rfm_monetary"] > median, "high", "low")


def _next_purchase(scores: pd.DataFrame, as_of: datetime) -> None:
    today = pd.Timestamp(as_of).tz_convert("Asia/Jakarta").date()
    gap = scores["purchase_frequency_days"].replace(0, np.nan)
    days = scores["days_since_last_order"]
    ahead = (gap.round() - days).clip(lower=0)
    scores["next_purchase_on"] = [
        None if np.isnan(of) else today + timedelta(days=int(of)) for of in ahead
    ]
    scores["next_purchase_confidence"] = (1 - 1 / scores["counted_orders"]) * (
        gap / days.clip(lower=1)
    ).clip(upper=1)
    scores["clv_tier"] = pd.cut(
        scores["clv_percentile"],
        [-1, 50, 80, 95, 101],
        right=False,
        labels=["bronze", "silver", "gold", "platinum"],
    ).astype(object)


def _totals(orders: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    everything = orders.groupby("customer_sk")
    counted = orders[orders["counted"]].groupby("customer_sk")
    scores = pd.DataFrame({"total_orders": everything.size()})
    scores["counted_orders"] = counted.size()
    for status in STATUSES:
        scores[f"{status}_orders"] = (
            orders[orders["status"] == status].groupby("customer_sk").size()
        )
    scores["first_order_at"] = counted["ordered_at"].min()
    earliest = orders[orders["counted"]].sort_values("ordered_at").groupby("customer_sk")
    scores["first_store_sk"] = earliest["store_sk"].first()
    scores["first_order_day"] = counted["local_at"].min().dt.date
    scores["last_order_at"] = counted["ordered_at"].max()
    scores["revenue"] = everything["net_amount"].sum()
    scores["refunded_amount"] = everything["refund_amount"].sum()
    scores["discount_amount"] = counted["discount_amount"].sum()
    scores["basket_size"] = counted["item_count"].mean()
    scores["discount_sensitivity"] = counted["discount_amount"].agg(lambda of: (of > 0).mean())
    for name, column in (
        ("preferred_shopping_day", "local_weekday"),
        ("preferred_shopping_hour", "local_hour"),
        ("preferred_payment_method", "payment_method"),
    ):
        scores[name] = counted[column].agg(lambda of: of.mode().iat[0])
    for days in (30, 90, 180, 365):
        recent = orders[orders["ordered_at"] >= as_of - timedelta(days=days)]
        scores[f"orders_{days}d"] = recent[recent["counted"]].groupby("customer_sk").size()
        scores[f"revenue_{days}d"] = recent.groupby("customer_sk")["net_amount"].sum()
    first, last = counted["local_at"].min().dt.normalize(), counted["local_at"].max().dt.normalize()
    today = pd.Timestamp(as_of).tz_convert("Asia/Jakarta").tz_localize(None)
    scores["tenure_days"] = (today - first).dt.days
    scores["days_since_last_order"] = (today - last).dt.days
    sums = scores.columns[scores.columns.str.contains(r"_orders$|amount|_\d+d$")]
    scores[sums] = scores[sums].fillna(0)
    return scores


def _rhythm(scores: pd.DataFrame) -> None:
    months = (scores["tenure_days"] / 30.44).clip(lower=1)
    between = scores["tenure_days"] - scores["days_since_last_order"]
    several = scores["counted_orders"] >= 2
    scores["average_order_value"] = scores["revenue"] / scores["counted_orders"].replace(0, np.nan)
    scores["orders_per_month"] = scores["counted_orders"] / months
    scores["monthly_revenue"] = scores["revenue"] / months
    scores["purchase_frequency_days"] = (between / (scores["counted_orders"] - 1)).where(several)
    for trend, kind in (("order_frequency_trend", "orders"), ("spend_trend", "revenue")):
        month, mean = scores[f"{kind}_30d"], scores[f"{kind}_90d"] / 3
        scores[trend] = np.select(
            [month < mean * 0.5, month > mean * 1.5], ["decreasing", "increasing"], "stable"
        )
        scores[trend] = scores[trend].where(mean > 0, None)


def _rfm(scores: pd.DataFrame) -> None:
    buyers = scores["orders_365d"] > 0
    scores["rfm_recency_days"] = scores["days_since_last_order"].where(buyers)
    scores["rfm_frequency"] = scores["orders_365d"]
    scores["rfm_monetary"] = scores["revenue_365d"]
    for name, source in (
        ("recency", "rfm_recency_days"),
        ("frequency", "rfm_frequency"),
        ("monetary", "rfm_monetary"),
    ):
        ranks = scores[source].where(buyers).rank(method="first")
        scores[f"rfm_{name}_score"] = pd.qcut(ranks, 5, labels=QUINTILES[name]).astype(float)
        scores[f"rfm_{name}_percentile"] = scores[source].where(buyers).rank(pct=True) * 100
    scores["rfm_segment"] = scores.apply(_segment, axis=1)


def _segment(row: Any) -> str | None:
    r, f, m = row["rfm_recency_score"], row["rfm_frequency_score"], row["rfm_monetary_score"]
    if pd.isna(r):
        return None
    if r >= 4 and f + m >= 8:
        return "champion"
    if r >= 3 and f >= 4:
        return "loyal"
    if r <= 3 and f + m >= 8:
        return "at_risk"
    return "promising" if r >= 4 else "hibernating"


def _lifetime_value(scores: pd.DataFrame) -> None:
    gap = scores["purchase_frequency_days"].fillna(365).clip(lower=7)
    scores["clv_1_year"] = scores["average_order_value"] * 365 / gap * 0.3
    scores["clv_3_year"] = scores["clv_1_year"] * 3
    scores["clv"] = scores["clv_3_year"]
    scores["clv_percentile"] = scores["clv"].rank(pct=True) * 100
    months = scores["tenure_days"] / 30.44
    scores["clv_confidence"] = (50 + 2 * scores["counted_orders"] + 0.5 * months).clip(upper=100)


def _churn(scores: pd.DataFrame) -> None:
    recency = (scores["days_since_last_order"] / 90 * 30).clip(0, 30)
    orders = np.select(
        [
            (scores["orders_30d"] == 0) & (scores["orders_90d"] == 0),
            scores["orders_30d"] == 0,
            scores["orders_30d"] < scores["orders_90d"] / 3 * 0.5,
        ],
        [30, 20, 15],
        0,
    )
    spend = np.select(
        [
            (scores["revenue_30d"] == 0) & (scores["revenue_90d"] == 0),
            scores["revenue_30d"] == 0,
            scores["revenue_30d"] < scores["revenue_90d"] / 3 * 0.5,
        ],
        [25, 15, 10],
        0,
    )
    trend = np.select(
        [scores["order_frequency_trend"] == "decreasing", scores["spend_trend"] == "decreasing"],
        [15, 10],
        0,
    )
    scores["churn_score"] = np.floor(recency + orders + spend + trend) / 100
    scores["churn_band"] = pd.cut(
        scores["churn_score"], [-1, 0.3, 0.6, 0.8, 2], labels=["low", "medium", "high", "critical"]
    ).astype(object)
    scores["value_at_risk"] = scores["clv"] * scores["churn_score"]
    points = pd.DataFrame({"r": recency, "o": orders, "s": spend, "t": trend})
    scores["churn_reasons"] = points.apply(_reasons, axis=1)
    scores["lifecycle_segment"] = scores.apply(_stage, axis=1)


def _reasons(points: Any) -> list[str]:
    reasons = []
    if points["r"] >= 20:
        reasons.append("long_absence")
    if points["o"] >= 20:
        reasons.append("fewer_orders")
    if points["s"] >= 15:
        reasons.append("less_spending")
    if points["t"] >= 10:
        reasons.append("falling_trend")
    return reasons[:3]


def _stage(row: Any) -> str:
    days = row["days_since_last_order"]
    if pd.isna(days):
        return "new"
    for limit, stage in ((365, "lost"), (180, "dormant"), (90, "at_risk")):
        if days > limit:
            return stage
    if row["revenue"] > 1_500_000_000 and row["orders_365d"] > 4:
        return "vip"
    return "regular" if row["orders_365d"] > 2 else "occasional"


async def _write(url: str, tenant_id: int, scores: pd.DataFrame) -> None:
    """A statement a row, by SQLAlchemy, which is what pandas goes through to databases."""
    types = {column.name: column.type for column in customer_analytics.columns}
    whole = [isinstance(types[name], Integer) for name in scores.columns]
    assignments = ", ".join(f"{name} = :{name}" for name in scores.columns)
    update = text(
        f"UPDATE customer_analytics SET {assignments}, computed_at = now()"
        " WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk"
    ).bindparams(*(bindparam(name, type_=types[name]) for name in scores.columns))
    engine = create_async_engine(asyncpg_url(url), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        # The totals of the dashboards are added up once at the end, as by a full run.
        await connection.execute(text("SET app.totals = 'off'"))
        for customer_sk, row in scores.iterrows():
            values = {
                name: None if _is_missing(value) else round(value) if is_whole else value
                for name, value, is_whole in zip(scores.columns, row, whole, strict=True)
            }
            key = {"tenant_id": tenant_id, "customer_sk": customer_sk}
            await connection.execute(update, key | values)
        await connection.execute(
            text("SELECT rebuild_population_totals(:tenant_id)"), {"tenant_id": tenant_id}
        )
    await engine.dispose()


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value))
