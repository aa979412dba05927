"""`python -m tests.bench [NAME…]`: measure, print a table, exit with 1 where a target is missed."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence

import uvloop

from app.embedded import throwaway_cluster
from tests.bench import (
    captures,
    cohorts,
    events,
    exports,
    face_search,
    import_orders,
    lists,
    ndjson,
    nearby,
    order_post,
    profile,
    scores,
    segments,
    tiles,
    update_scores,
)
from tests.bench.ground import Sizes, forbid_autovacuum
from tests.bench.ratio import Ratio, say, table

MEASUREMENTS: dict[str, Callable[[str, Sizes], Awaitable[list[Ratio]]]] = {
    "import_orders": import_orders.measure,
    "ndjson": ndjson.measure,
    "scores": scores.measure,
    "profile": profile.measure,
    "order_post": order_post.measure,
    "update_scores": update_scores.measure,
    "lists": lists.measure,
    "segments": segments.measure,
    "exports": exports.measure,
    "nearby": nearby.measure,
    "tiles": tiles.measure,
    "face_search": face_search.measure,
    "cohorts": cohorts.measure,
    "captures": captures.measure,
    "events": events.measure,
}


def main() -> None:
    """Run the measurements that were asked for, in the order they are defined."""
    names, sizes = _arguments()
    # Asked to end, do so in order: what was started here is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        throwaway_cluster(durable=True) as url,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        ratios = runner.run(_measure(url, names, sizes))
    say(f"\n{table(ratios)}")
    met = all(ratio.met for ratio in ratios)
    print(json.dumps({"met": met, "ratios": [each.document() for each in ratios]}))  # noqa: T201
    sys.exit(0 if met else 1)


async def _measure(url: str, names: Sequence[str], sizes: Sizes) -> list[Ratio]:
    await forbid_autovacuum(url)
    ratios: list[Ratio] = []
    for name in names:
        say(name)
        ratios += await MEASUREMENTS[name](url, sizes)
    return ratios


def _arguments() -> tuple[list[str], Sizes]:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}")
    defaults = Sizes(
        customers=100_000,
        many_customers=1_000_000,
        orders=1_000_000,
        streamed_orders=200_000,
        pandas_rows=20_000,
        updated_rows=5_000,
        face_photos=1_000,
        load_seconds=5.0,
        rounds=3,
    )
    for name in Sizes.__slots__:
        default = getattr(defaults, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help=f"[{default:,}]")
    given = vars(parser.parse_args())
    names = given.pop("names")
    if unknown := set(names) - set(MEASUREMENTS):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    return [name for name in MEASUREMENTS if not names or name in names], Sizes(**given)


if __name__ == "__main__":
    main()
