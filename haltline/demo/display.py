"""What a person sees: the story line by line and, on a terminal, the pulse of the shop below it."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from haltline.demo.fleet import SHOP, Fleet
from haltline.demo.observer import Observer, now_ms

_BARS = "▁▂▃▄▅▆▇█"
_HISTORY_S = 30
_FULL_BAR = 0.15
_RECENT_MS = 3_000
_STYLES = {"bad": "bold red", "good": "green", "frozen": "bold cyan", "act": "bold", "": ""}


def spark(values: list[float], top: float) -> str:
    """A line of bars, `top` being the highest.

    >>> spark([0.0, 0.5, 1.0], 1.0)
    '▁▅█'
    """
    return "".join(_BARS[min(len(_BARS) - 1, round(value / top * (len(_BARS) - 1)))] for value in values)


class Display:
    """Prints the story; on a terminal it also keeps a live panel, elsewhere or with `plain` there are only lines."""

    def __init__(self, console: Console, *, plain: bool) -> None:
        self._console = console
        self._began = time.monotonic()
        self._pulse: Pulse | None = None
        lively = console.is_terminal and not plain
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render) if lively else None

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.calm()

    def calm(self) -> None:
        """Take the panel away; lines may still follow."""
        if self._live:
            self._pulse = None
            self._live.stop()
            self._live = None

    def follow(self, fleet: Fleet, observer: Observer) -> None:
        """Show this shop in the panel from now on."""
        self._pulse = Pulse(fleet, observer)

    def act(self, title: str) -> None:
        """Begin a part of the story."""
        self._console.print()
        self._console.print(Text(title, style=_STYLES["act"]), soft_wrap=True)

    def line(self, topic: str, text: str, style: str = "") -> None:
        """Say one thing that happened, now."""
        elapsed = f"{time.monotonic() - self._began:6.1f} s  "
        row = Text.assemble((elapsed, "dim"), (f"{topic:<9} ", "blue"), (text, _STYLES[style]))
        self._console.print(row, soft_wrap=True)

    def show(self, *lines: Text) -> None:
        """Lines that belong to no moment."""
        for line in lines:
            self._console.print(line, soft_wrap=True)

    def _render(self) -> RenderableType:
        return self._pulse.panel() if self._pulse else Text("")


class Pulse:
    """The state of the shop as a table: who runs, at what rate, with which errors."""

    def __init__(self, fleet: Fleet, observer: Observer) -> None:
        self._fleet = fleet
        self._observer = observer

    def panel(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("service", no_wrap=True)
        table.add_column("instances", no_wrap=True, min_width=18)
        table.add_column("req/s", justify="right", no_wrap=True)
        table.add_column("errors", justify="right", no_wrap=True)
        table.add_column(f"errors of the last {_HISTORY_S} s, full bar {_FULL_BAR:.0%}", no_wrap=True)
        for service in SHOP:
            table.add_row(*self._row(service))
        return Group(Text(""), table, self._customers())

    def _row(self, service: str) -> tuple[RenderableType, ...]:
        ratio = self._observer.error_ratio(service, now_ms() - _RECENT_MS) or 0.0
        style = "red" if ratio > 0.03 else "green"
        history = self._history(service)
        rate = sum(requests for requests, _ in history[-3:]) / max(1, len(history[-3:]))
        bars = spark([errors / requests if requests else 0.0 for requests, errors in history], _FULL_BAR)
        return service, self._dots(service), f"{rate:.0f}", Text(f"{ratio:.1%}", style), Text(bars, style)

    def _dots(self, service: str) -> Text:
        dots = Text()
        versions = sorted(member.identity.version for member in self._fleet.of(service))
        for version in versions:
            dots.append("● ", {"v1": "blue", "v2": "magenta"}.get(version, "yellow"))
        return dots.append(" ".join(f"{version}×{versions.count(version)}" for version in sorted(set(versions))))

    def _history(self, service: str) -> list[tuple[int, int]]:
        """Requests and errors of each of the last full seconds."""
        last = now_ms() // 1_000
        seconds = {second: [0, 0] for second in range(last - _HISTORY_S, last)}
        for sample in reversed(self._observer.samples):
            if sample.at // 1_000 < last - _HISTORY_S - 2:
                break
            if sample.service == service and sample.at // 1_000 in seconds:
                seconds[sample.at // 1_000][0] += sample.requests
                seconds[sample.at // 1_000][1] += sample.errors
        return [(requests, errors) for requests, errors in seconds.values()]

    def _customers(self) -> Text:
        served = sum(len(second.served) for second in self._observer.seconds)
        failed = sum(len(second.failed) for second in self._observer.seconds)
        return Text(f"{served + failed:,} checkouts, {failed:,} of them failed", style="dim")
