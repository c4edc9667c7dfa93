"""What the detectors say of one service for one change: the records on `haltline.evidence`."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one detector says of one signal (a metric and its attributes) for one change.

    `control` names what the numbers were compared with: `concurrent` (old instances beside the new), `past`, `silence`.
    `log_p` is the calibrated natural-log p-value, valid whenever one looks; `effect` is in the metric's own unit.
    """

    service: str
    metric: str
    attributes: dict[str, str] = {}
    control: str
    log_p: float
    log_e: float
    effect: float
    expected: float | None = None
    samples: int
    reason: str


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The evidence of one service for one change up to `time` (Unix milliseconds, event time).

    `tests` counts the signals that could speak and `silent` those that could not yet (too little history, no control);
    `families` holds the combined `log_p` of each control, `looks` how often was looked, `warming` why the own past
    cannot speak. `asked` is when a witness was asked: what it says of earlier was not known before. `ended` marks the
    last report of a watch, `cut_short` that the input ended before it did.
    `sample_age_ms` is how old the newest sample that it tells of was when it arrived; `newest_sample` is that sample's
    time, where it is not `time`.
    """

    change: str
    service: str
    environment: str = ""
    time: int
    log_p: float
    families: dict[str, float] = {}
    tests: int = 0
    silent: int = 0
    findings: tuple[Finding, ...] = ()
    onset: int | None = None
    ended: bool = False
    cut_short: bool = False
    looks: int = 0
    warming: str = ""
    asked: int = 0
    newest_sample: int | None = None
    sample_age_ms: int = 0

    @property
    def order(self) -> tuple[int, str, str, str]:
        """Reports in the order in which they became known, whatever came in one message."""
        return max(self.time, self.asked), self.change, self.service, self.environment
