"""What can go wrong in the demo, as one line for the person who started it."""

from __future__ import annotations


class DemoFailed(Exception):
    """The story did not come about; the text says what was waited for."""
