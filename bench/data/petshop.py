"""PetShop: a shop on AWS with issues put into it by run-time configuration changes and deploys, a row every 5 minutes.

Each issue becomes a case of its own: one change on the component that was broken, five rows around it, and in front of
them a history. The run without issues was recorded months later and must not serve as that history, so it is
made of the quiet rows of the sibling issues of the same traffic run, laid before the issue at the usual distance. A
row's time in the files is the start of its five minutes; here a sample's time is the end of them, when its numbers
exist.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.cases import Case, Truth, change, policy
from bench.data import Floats, Service, folder, milliseconds, number, opened, telemetry

PERIOD_MS = 300_000
RUNS = ("high_traffic", "low_traffic", "temporal_traffic1", "temporal_traffic2")
# A fault is in force for about ten minutes; a row that begins a minute later is free of it.
SETTLED_MS = 11 * 60_000
WATCH_S = 25 * 60
# Every case gets four days of its own, so that all of them can also stand in one stream.
FIRST_MS = milliseconds("2023-05-01T12:00:00Z")
SLOT_MS = 4 * 86_400_000

Columns = dict[tuple[str, str], Floats]


@dataclass(frozen=True, eq=False)
class Issue:
    """One issue: the starts of its rows (ms), its columns by (component, metric), when it was noticed, who made it."""

    run: str
    name: str
    starts: NDArray[np.int64]
    columns: Columns
    time_ms: int
    front: str
    root: str
    command: str

    @property
    def first_affected(self) -> int:
        """Index of the row in which the issue began."""
        return int(np.searchsorted(self.starts, self.time_ms, side="right")) - 1

    def quiet_rows(self) -> list[int]:
        """Rows that were over before the issue began, or began after its fault was taken out again."""
        return [
            i
            for i, start in enumerate(self.starts.tolist())
            if start + PERIOD_MS <= self.time_ms or start >= self.time_ms + SETTLED_MS
        ]


def read_metrics(path: Path) -> tuple[NDArray[np.int64], Columns]:
    """Row starts in ms and the columns by (component, metric such as `latency.p99`) of one `metrics.csv`."""
    with opened(path) as file:
        components, metrics, statistics, *rows = list(csv.reader(file))
    body = [row for row in rows if row and row[0] not in {"", "unix_timestamp"}]
    starts = np.array([round(float(row[0]) * 1000) for row in body], dtype=np.int64)
    columns = {
        (components[i], f"{metrics[i]}.{statistics[i].lower()}"): np.array([number(row[i]) for row in body])
        for i in range(1, len(components))
    }
    return starts, columns


def calls(run: str) -> dict[str, list[str]]:
    """Whom each component calls, from the run's `graph.csv` (rows call columns)."""
    with opened(folder("petshop") / "dataset" / run / "graph.csv") as file:
        header, *rows = list(csv.reader(file))
    graph = {}
    for row in rows:
        callees = {callee for callee, cell in zip(header[1:], row[1:], strict=True) if float(cell)}
        graph[row[0]] = sorted(callees - {row[0]})
    return dict(sorted(graph.items()))


def touched(graph: dict[str, list[str]], root: str) -> set[str]:
    """The root and everything that calls it, directly or through others."""
    reached = {root}
    while grown := {caller for caller, callees in graph.items() if caller not in reached and reached & set(callees)}:
        reached |= grown
    return reached


def issues(run: str) -> list[Issue]:
    """The training issues of one traffic run in order of time."""
    found = []
    for path in sorted((folder("petshop") / "dataset" / run / "train").glob("issue_*")):
        target = json.loads((path / "target.json").read_text(encoding="utf-8"))
        starts, columns = read_metrics(path / "metrics.csv")
        found.append(
            Issue(
                run,
                path.name,
                starts,
                columns,
                round(float(target["target"]["timestamp"]) * 1000),
                target["target"]["node"],
                target["root_cause"]["node"],
                str(target.get("metadata", {}).get("reproducibility", {}).get("command", "")),
            )
        )
    return sorted(found, key=lambda issue: issue.time_ms)


def kind_of(command: str) -> str:
    """The kind of change that the command which made the issue amounts to.

    >>> kind_of("aws ssm put-parameter --name x --value 1"), kind_of("cdk deploy Services")
    ('config', 'code')
    """
    return "config" if "put-parameter" in command else "code"


def cases(*, issue_free_history: bool = False) -> Iterator[Case]:
    """Each training issue with its change at the broken component; times are disjoint and ids distinct.

    With `issue_free_history` the run without issues stands in front of each, moved in time. It is of another season, so
    what is caught then says nothing of detection; it serves to compare two paths that must decide alike.
    """
    yield from _cases(innocent=False, free=_free_columns() if issue_free_history else None)


def shuffled_cases() -> Iterator[Case]:
    """The same telemetry, the change at a component that neither is the broken one nor calls it."""
    yield from _cases(innocent=True, free=None)


def _cases(*, innocent: bool, free: Columns | None) -> Iterator[Case]:
    number_of_case = 0
    for run in RUNS:
        graph = calls(run)
        siblings = issues(run)
        for issue in siblings:
            joined = _with_history(issue, siblings, graph) if free is None else _behind(issue, free)
            services, starts = joined
            shift = FIRST_MS + number_of_case * SLOT_MS - int(starts[0])
            moved = [Service(s.name, s.period_ms, s.times + shift, s.metrics, s.labels, s.kinds) for s in services]
            place = _bystander(moved, graph, issue, number_of_case) if innocent else issue.root
            # One second into the row in which it began: after the sample of the row before, before its own.
            changed_at = int(issue.starts[issue.first_affected]) + 1000 + shift
            name = f"{run}-{issue.name}" + ("-innocent" if innocent else "")
            record = change(f"petshop-{name}", place, changed_at, kind="code" if innocent else kind_of(issue.command))
            truth = Truth(
                place, PERIOD_MS, changed_at, None if innocent else max(issue.time_ms + shift, changed_at), name
            )
            yield Case(
                name,
                [record],
                list(telemetry(moved)),
                policy(watch_s=WATCH_S, samples=1, calls=graph),
                {record["id"]: truth},
            )
            number_of_case += 1


def _with_history(
    issue: Issue, siblings: Sequence[Issue], graph: dict[str, list[str]]
) -> tuple[list[Service], NDArray[np.int64]]:
    """The issue's own rows behind its siblings' rows in which its root was quiet; those that were not are missing."""
    blocks: list[tuple[Issue, list[int], set[str], set[int]]] = []
    for sibling in siblings:
        if sibling is issue:
            continue
        hurt = touched(graph, sibling.root)
        quiet = sibling.quiet_rows()
        rows = quiet if issue.root in hurt else list(range(len(sibling.starts)))
        blocks.append((sibling, rows, hurt, set(quiet)))
    before = sum(len(rows) for _, rows, _, _ in blocks)
    starts = np.concatenate([issue.starts[0] - PERIOD_MS * np.arange(before, 0, -1, dtype=np.int64), issue.starts])
    by_component: dict[str, dict[str, Floats]] = {}
    for component, metric in issue.columns:
        pieces = []
        for sibling, rows, hurt, quiet_set in blocks:
            column = sibling.columns.get((component, metric))
            hidden = component in hurt
            pieces += [
                float("nan") if column is None or (hidden and row not in quiet_set) else float(column[row])
                for row in rows
            ]
        by_component.setdefault(component, {})[metric] = np.concatenate(
            [np.array(pieces), issue.columns[component, metric]]
        )
    return [_service(component, starts, metrics) for component, metrics in by_component.items()], starts


def _free_columns() -> Columns:
    return read_metrics(folder("petshop") / "dataset" / "low_traffic" / "noissue" / "metrics.csv")[1]


def _behind(issue: Issue, free: Columns) -> tuple[list[Service], NDArray[np.int64]]:
    """The issue's rows behind the whole run without issues."""
    before = len(next(iter(free.values())))
    starts = np.concatenate([issue.starts[0] - PERIOD_MS * np.arange(before, 0, -1, dtype=np.int64), issue.starts])
    missing = np.full(before, np.nan)
    by_component: dict[str, dict[str, Floats]] = {}
    for (component, metric), values in issue.columns.items():
        joined = np.concatenate([free.get((component, metric), missing), values])
        by_component.setdefault(component, {})[metric] = joined
    return [_service(component, starts, metrics) for component, metrics in by_component.items()], starts


def _service(component: str, starts: NDArray[np.int64], metrics: dict[str, Floats]) -> Service:
    kinds = {"requests.sum": "delta"}
    return Service(component, PERIOD_MS, starts + PERIOD_MS, metrics, np.zeros(len(starts), dtype=np.bool_), kinds)


def _bystander(services: Sequence[Service], graph: dict[str, list[str]], issue: Issue, turn: int) -> str:
    """A component outside the blast radius whose own rows around the issue are all there; another one each turn."""
    near = touched(graph, issue.root) | {issue.root}
    rows = len(issue.starts)
    fit = sorted(
        service.name
        for service in services
        if service.name not in near and all(np.isfinite(values[-rows:]).all() for values in service.metrics.values())
    )
    return fit[turn % len(fit)]


def issue_free() -> list[Service]:
    """The 49 hours without issues, every component a service."""
    starts, columns = read_metrics(folder("petshop") / "dataset" / "low_traffic" / "noissue" / "metrics.csv")
    by_component: dict[str, dict[str, Floats]] = {}
    for (component, metric), values in columns.items():
        by_component.setdefault(component, {})[metric] = values
    return [_service(component, starts, metrics) for component, metrics in by_component.items()]
