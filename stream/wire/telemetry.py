"""The door for telemetry: which decoder reads a record.

A new format is a module with a decoder and a place in `TELEMETRY_DECODERS`; the first that accepts decides.
"""

from __future__ import annotations

from typing import Protocol

from stream.cloudevents import Event, Headers, unwrap
from stream.columns import Columns
from stream.series_ids import SeriesIds
from stream.wire.influx_lines import InfluxLines
from stream.wire.native_telemetry import NativeTelemetry
from stream.wire.otlp_json import OtlpJson
from stream.wire.otlp_protobuf import OtlpProtobuf
from stream.wire.prometheus_json import PrometheusJson
from stream.wire.refusal import no_decoder
from stream.wire.remote_write import RemoteWrite
from stream.wire.telegraf_json import TelegrafJson


class TelemetryDecoder(Protocol):
    """Reads one format of telemetry from the event's data; `decode` raises `Unreadable` and nothing else.

    What `decode` returns has the numbers and the keys of the registry, in which it enters series that are new.
    """

    name: str

    def accepts(self, event: Event, topic: str) -> bool: ...

    def decode(self, event: Event, ids: SeriesIds) -> Columns: ...


TELEMETRY_DECODERS: tuple[TelemetryDecoder, ...] = (
    RemoteWrite(),
    OtlpProtobuf(),
    OtlpJson(),
    PrometheusJson(),
    TelegrafJson(),
    InfluxLines(),
    NativeTelemetry(),
)


def decode_telemetry(
    topic: str, value: bytes | None, headers: Headers, ids: SeriesIds | None = None, arrived: int | None = None
) -> Columns:
    """The samples in a record; who reads many records hands the same registry to all of them.

    `arrived` is when Kafka took the record, in Unix milliseconds: the time of samples that have none of their own.

    Raises:
        Unreadable: no decoder reads it; the kind and the text say why.
    """
    event = unwrap(value, headers, arrived)
    for decoder in TELEMETRY_DECODERS:
        if decoder.accepts(event, topic):
            return decoder.decode(event, SeriesIds() if ids is None else ids)
    raise no_decoder(topic, event)
