"""One decoder a format, all behind one interface: bytes and headers in, changes or columns of samples out.

`decode_changes`, `decode_told` and `decode_telemetry` are the doors; `outgoing` writes and reads haltline's own
records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream.json_text import MAX_BYTES, encode
from stream.wire.changes import CHANGE_DECODERS, ChangeDecoder, Told, decode_changes, decode_told

if TYPE_CHECKING:
    from stream.wire.telemetry import TELEMETRY_DECODERS, TelemetryDecoder, decode_telemetry

__all__ = [
    "CHANGE_DECODERS",
    "MAX_BYTES",
    "TELEMETRY_DECODERS",
    "ChangeDecoder",
    "TelemetryDecoder",
    "Told",
    "decode_changes",
    "decode_telemetry",
    "decode_told",
    "encode",
]


def __getattr__(name: str) -> Any:
    # Telemetry brings numpy, which a command that only reads or writes a freeze should not wait for.
    if name in ("TELEMETRY_DECODERS", "TelemetryDecoder", "decode_telemetry"):
        from stream.wire import telemetry

        return getattr(telemetry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
