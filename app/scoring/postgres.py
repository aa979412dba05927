"""The score definitions as PostgreSQL's SQL.

Compiling takes a few hundred milliseconds and depends on the rules alone, so each set of rules is
compiled once a process. The statements read the relations of `app.scoring.relations`; whoever runs
them supplies those (`app.repositories.scoring`).
"""

from dataclasses import dataclass

import ibis
from ibis.backends.sql.compilers.postgres import PostgresCompiler
from ibis.expr.types import Table

from app.domain.profile import Profile
from app.scoring.features import (
    AMOUNTS,
    customer_features,
    customer_periods,
    customer_totals,
)
from app.scoring.relations import merged
from app.scoring.scores import customer_ratings, customer_scores, population, written_scores


@dataclass(frozen=True, slots=True)
class ScoringSql:
    """Named selects, each reading the relation of the one before it.

    `totals`, `periods` and `features` read the sources; `population` reads `features` and splits
    the buyers; `ratings` and `scores` read `features` and the cutoffs.
    """

    totals: str
    periods: str
    features: str
    population: str
    ratings: str
    scores: str


_compiled: dict[tuple[str, int], ScoringSql] = {}


def scoring_sql(profile: Profile, decimals: int) -> ScoringSql:
    """The selects for one set of rules; `decimals` are those of the tenant's currency."""
    key = (profile.version, decimals)
    if key not in _compiled:
        totals = customer_totals()
        periods = customer_periods(_totals(totals))
        features = customer_features(_result("periods", periods))
        ratings = customer_ratings(_result("features", features), profile, decimals)
        scores = customer_scores(_result("ratings", ratings), profile, decimals)
        _compiled[key] = ScoringSql(
            totals=_sql(totals),
            periods=_sql(periods),
            features=_sql(features),
            population=_sql(population(_result("features", features), profile)),
            ratings=_sql(ratings),
            scores=_sql(scores),
        )
    return _compiled[key]


_compiled_written: dict[tuple[str, int], str] = {}


def written_scores_sql(profile: Profile, decimals: int) -> str:
    """The select that reads `merged` and adds what follows from its scores by the profile."""
    key = (profile.version, decimals)
    if key not in _compiled_written:
        _compiled_written[key] = _sql(written_scores(merged, profile, decimals))
    return _compiled_written[key]


def _totals(totals: Table) -> Table:
    # PostgreSQL adds up bigints to numerics, and reckons with those at a tenth of the speed. Told
    # so, Ibis writes the casts that it would leave out between two integers.
    return ibis.table(
        {
            name: "decimal(38, 0)" if name in AMOUNTS else kind
            for name, kind in totals.schema().items()
        },
        name="totals",
    )


def _result(name: str, expression: Table) -> Table:
    return ibis.table(expression.schema(), name=name)


def _sql(expression: Table) -> str:
    # The backend's own class would want a driver and a connection; its compiler wants neither.
    return str(PostgresCompiler().to_sqlglot(expression.unbind()).sql("postgres"))
