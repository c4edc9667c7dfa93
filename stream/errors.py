"""Exceptions of the stream. Their text is one line and names what could not be read."""

from __future__ import annotations


class StreamError(Exception):
    """Root of what goes wrong with events on their way in or out."""


class Unreadable(StreamError):
    """A record that no decoder can read; it goes to the dead-letter topic with its bytes unchanged.

    `kind` is one of a small fixed set, fit for a metric's label: `syntax`, `type`, `value`, `time`, `size`, `empty`,
    `format`.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class BrokerUnavailable(StreamError):
    """No broker answered; the text says what was tried and what to do."""
