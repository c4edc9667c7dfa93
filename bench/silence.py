"""Silence through `haltline replay`: all metrics, or the five named ones, stay away for 30 samples.

As null (the record comes, without the number) or as nothing at all, from the fifth row after the change; something else
keeps reporting, so that time moves on. Windows are copies as in `replay_quality`. Caught means frozen by the fifth
missing sample. False ones are counted where nothing is wrong: freezes for a silence among the placebo changes of
`python -m bench detection`, and here on series a second that lose up to 1 % of their samples by chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from bench import DataMissingError
from bench.canary import per_thousand, silences
from bench.cases import Moment, quiet_moments
from bench.data import Service, jumpstarter, microsoft
from bench.goals import within
from bench.harm import copies
from bench.judged import share
from bench.replay_sets import WATCH, guardrails
from bench.run_replay import Replayed, command, run
from bench.tables import table
from stream.backtest.quiet import thin

WAYS = ("null", "absent")
WITHIN = 5


def moments(services: Sequence[Service], most: int, *, history: int) -> list[Moment]:
    """At most `most` quiet moments with so many rows before them."""
    return thin([one for one in quiet_moments(services, WATCH) if one.index >= history], most)


def measure(most: int) -> Iterator[tuple[str, str, list[Replayed]]]:
    """What is missing, how, and the replays: Microsoft's single series, JumpStarter's 19 metrics and five named."""
    single = moments(microsoft.load(60), most, history=1_500)
    for way in WAYS:
        yield "the one metric", way, [run(copies(f"silent-{way}", single, WATCH, harm=way, history=2_016))]
    services = jumpstarter.load()
    named = guardrails(services)
    many = moments(services, most // 2, history=1_440)
    for what, touched in (("all 19 metrics", None), ("the five named", {one.name: named for one in many})):
        for way in WAYS if touched is None else WAYS[:1]:
            label = f"silent-{len(named) if touched else 0}-{way}"
            yield what, way, [run(copies(label, many, WATCH, harm=way, history=1_440, touch=touched, named=named))]


def main(argv: Sequence[str]) -> int:
    """Print one line a way of staying away."""
    parser = argparse.ArgumentParser(prog="python -m bench silence", description=__doc__)
    parser.add_argument("--moments", type=int, default=40, help="of Microsoft's; JumpStarter half (default: 40)")
    most = parser.parse_args(list(argv)).moments
    command()
    rows = []
    try:
        for what, way, runs in measure(most):
            rows.append([what, way, share(*within(runs, WITHIN)), share(*within(runs, WATCH))])
    except DataMissingError as error:
        print(f"skipped: {error}")
    print(table("silent for 30 samples: frozen", ["what", "as", f"within {WITHIN} samples", "at all"], rows))
    delays, false = silences(10 * most)
    soon = sum(delay is not None and delay <= WITHIN for delay in delays)
    print(f"\nevery second, up to 1 % lost: {share(soon, len(delays))} within {WITHIN}")
    print(f"false, per 1,000: {per_thousand(false, len(delays))}")
    return 0
