"""Both doors at once, for readers of both; either alone is in `changes` and `telemetry`."""

from __future__ import annotations

from stream.wire.changes import CHANGE_DECODERS, ChangeDecoder, decode_changes
from stream.wire.telemetry import TELEMETRY_DECODERS, TelemetryDecoder, decode_telemetry

__all__ = [
    "CHANGE_DECODERS",
    "TELEMETRY_DECODERS",
    "ChangeDecoder",
    "TelemetryDecoder",
    "decode_changes",
    "decode_telemetry",
]
