"""One page that holds a whole backtest: no script, nothing fetched, readable in light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from haltline.backtest import words
from haltline.backtest.charts import incident_chart, rates_chart
from stream.backtest.result import AtRate, Backtest, Case, Metric

#: Incidents that are drawn, at most; all are in the table and in the JSON.
DRAWN = 24


def page(found: Backtest) -> str:
    """The page as HTML; the same result gives the same bytes."""
    told = found.history
    span = (
        f"{words.when(told.starts_at)} to {words.when(told.ends_at)} UTC" if told.starts_at is not None else "nothing"
    )
    rails = ", ".join(told.guardrails) or "none, every metric is judged"
    history = (
        f"{span}: {told.services} services, {told.series} series, {told.samples:,} samples, {told.changes} changes. "
        f"Judged with error_rate {told.error_rate:g}; guardrails: {rails}."
    )
    parts = [
        "<h1>haltline backtest</h1>",
        f'<p class="soft">{escape(history)}</p>',
        *(f'<p class="answer">{escape(line)}</p>' for line in words.headline(found)),
        "<h2>What to set</h2>",
        _list(found.suggested.reasons),
        f"<pre>{escape(found.suggested.policy)}</pre>",
        "<h2>How often it would have frozen for nothing</h2>",
        *_placebo(found),
        "<h2>Past incidents</h2>",
        *_incidents(found),
        "<h2>Which metrics deserve to be guardrails</h2>",
        *_metrics(found.metrics),
        "<h2>What this cannot say</h2>",
        _list(found.notes),
    ]
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>haltline backtest</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _placebo(found: Backtest) -> Iterable[str]:
    placebo = found.placebo
    canaries = f", {placebo.canaries} of them on one instance of several" if placebo.canaries else ""
    yield (
        f"<p>{placebo.changes} changes that never were{canaries}, put at quiet moments ({placebo.moments} there are) "
        "of the recorded telemetry, a whole watch away from every recorded change and incident. Each freeze of one is "
        "a freeze for nothing. The lines are 95 % intervals: exact, or by drawing whole services again where that is "
        "wider.</p>"
    )
    suggested = AtRate(found.suggested.error_rate, found.suggested.false)
    chart = rates_chart(placebo.rates, found.goal_per_1000, suggested)
    if chart:
        said = "Grey: the policy as it is now. Blue: the policy suggested."
        yield f'<figure class="one">{chart}<figcaption>{said}</figcaption></figure>'
    if placebo.frozen:
        rows = [[one.service, words.when(one.time), one.metric, one.reason] for one in placebo.frozen]
        yield _table(("service", "frozen at", "metric", "because"), [[_cell(text) for text in row] for row in rows])
    if placebo.unjudged:
        yield f'<p class="soft">{placebo.unjudged} more could not be judged: nothing had enough history to speak.</p>'
    if placebo.without:
        yield '<p class="soft">Without a quiet moment, and not in the rate:</p>'
        yield _list(f"{service}: {why}" for service, why in placebo.without.items())


def _incidents(found: Backtest) -> Iterable[str]:
    recall = found.incidents
    if not recall.cases:
        yield (
            "<p>None is known. Changes that were rolled back, failed or were reverted count, and those that "
            "--incidents names.</p>"
        )
    else:
        drawn = sorted((one for one in recall.cases if one.curve is not None), key=_interest)
        yield '<div class="plots">' + "".join(map(_plot, drawn[:DRAWN])) + "</div>"
        if drawn:
            yield (
                '<p class="soft">Band: how far the largest single excursion of the metric\'s own past went from what '
                "was expected (dotted). Where new instances ran beside old ones, blue is the new and brown the old.</p>"
            )
        if len(drawn) > DRAWN:
            yield f'<p class="soft">{len(drawn) - DRAWN} more have their curve in backtest.json.</p>'
        yield _cases(recall.cases)
    if recall.alone:
        yield '<p class="soft">No recorded change came before these, so there was nothing to judge:</p>'
        yield _list(recall.alone)
    if recall.stopped:
        yield (
            "<p>Frozen without any harm that is known. Either a freeze for nothing, or an incident that nobody wrote "
            "down:</p>"
        )
        rows = [[one.change, one.service, words.when(one.time), one.reason] for one in recall.stopped]
        yield _table(("change", "service", "frozen at", "because"), [[_cell(text) for text in row] for row in rows])


def _interest(case: Case) -> tuple[bool, bool, int, str]:
    return case.caught_at is None, case.suggested_at is None, case.began_at, case.name


def _cases(cases: Sequence[Case]) -> str:
    # A column that says nothing of any incident is left out.
    people = any(words.against_people(case) for case in cases)
    header = ("incident", "service", "known by", "change", "caught", "told by", "people", "suggested policy", "because")
    rows = []
    for case in cases:
        caught = words.caught(case)
        rows.append(
            [
                _cell(case.name), _cell(case.service), _cell(case.why), _cell(words.when(case.began_at), "w"),
                _cell(caught, "w missed" if caught == "missed" else "w yes"), _cell(words.told_by(case), "w"),
                _cell(words.against_people(case), "w"), _cell(words.suggested(case), "w"), _cell(case.reason, "why"),
            ]
        )  # fmt: skip
    if not people:
        at = header.index("people")
        return _table(header[:at] + header[at + 1 :], (row[:at] + row[at + 1 :] for row in rows), "long")
    return _table(header, rows, "long")


def _plot(case: Case) -> str:
    assert case.curve is not None
    said = f"<b>{escape(case.service)}</b> {escape(case.name)}: {escape(words.caught(case))}"
    return f"<figure><figcaption>{said}</figcaption>{incident_chart(case, case.curve)}</figure>"


def _metrics(metrics: Sequence[Metric]) -> Iterable[str]:
    yield (
        "<p>Falsely: placebo changes in which the metric would have passed the error rate by itself. Told of: "
        "incidents in which it would have. Sees: of some quiet moments with harm put into the real samples, the share "
        "in which the metric would have been enough as the service's only guardrail; of guardrails named together, "
        "several that move at once need less each. Harm multiplies, so a metric that rests at zero shows none.</p>"
    )
    names = list(dict.fromkeys(shift.shift for metric in metrics for shift in metric.shifts))
    header = (
        "metric",
        "guardrail",
        "services",
        "falsely, per 1,000",
        "told of",
        "first",
        *(f"sees {name}" for name in names),
        "because",
    )
    rows = []
    for metric in metrics:
        shares = {one.shift: one for one in metric.shifts}
        cells = [
            _cell(metric.metric), _cell("yes" if metric.guardrail else "", "yes"), _cell(str(metric.services), "n"),
            _cell(words.per_1000(metric.false), "n"), _cell(str(metric.spoke), "n"), _cell(str(metric.first), "n"),
        ]  # fmt: skip
        for name in names:
            one = shares.get(name)
            text = "" if one is None else f"{one.seen} of {one.of}"
            filled = 0.0 if one is None else 100 * one.share
            cells.append(f'<td class="see" style="--share:{filled:.0f}%">{text}</td>')
        rows.append([*cells, _cell(metric.why, "why")])
    yield _table(header, rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in header)
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in rows)
    return f'<div class="sheet {kind}"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"
