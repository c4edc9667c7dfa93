"""Prometheus' messages of remote write as classes of protobuf's, made from their definitions: no package has them.

Sources: prometheus/prometheus, prompb/remote.proto, prompb/types.proto, prompb/io/prometheus/write/v2/types.proto.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "double": _F.TYPE_DOUBLE, "int64": _F.TYPE_INT64, "uint64": _F.TYPE_UINT64, "uint32": _F.TYPE_UINT32,
    "sint32": _F.TYPE_SINT32, "sint64": _F.TYPE_SINT64, "string": _F.TYPE_STRING,
}  # fmt: skip

_HISTOGRAM = """
    count_int=1:uint64@count count_float=2:double@count sum=3:double schema=4:sint32 zero_threshold=5:double
    zero_count_int=6:uint64@zero zero_count_float=7:double@zero negative_spans=8:*BucketSpan negative_deltas=9:*sint64
    negative_counts=10:*double positive_spans=11:*BucketSpan positive_deltas=12:*sint64 positive_counts=13:*double
    reset_hint=14:uint64 timestamp=15:int64 custom_values=16:*double
"""
_SPAN = "offset=1:sint32 length=2:uint32"
_ONE = {
    "WriteRequest": "timeseries=1:*TimeSeries metadata=3:*MetricMetadata",
    "TimeSeries": "labels=1:*Label samples=2:*Sample exemplars=3:*Exemplar histograms=4:*Histogram",
    "Label": "name=1:string value=2:string",
    "Sample": "value=1:double timestamp=2:int64",
    "Exemplar": "labels=1:*Label value=2:double timestamp=3:int64",
    "MetricMetadata": "type=1:uint64 metric_family_name=2:string help=4:string unit=5:string",
    "Histogram": _HISTOGRAM,
    "BucketSpan": _SPAN,
}
_TWO = {
    "Request": "symbols=4:*string timeseries=5:*TimeSeries",
    "TimeSeries": "labels_refs=1:*uint32 samples=2:*Sample histograms=3:*Histogram exemplars=4:*Exemplar "
    "metadata=5:Metadata created_timestamp=6:int64",
    "Sample": "value=1:double timestamp=2:int64 start_timestamp=3:int64",
    "Exemplar": "labels_refs=1:*uint32 value=2:double timestamp=3:int64",
    "Metadata": "type=1:uint64 help_ref=3:uint32 unit_ref=4:uint32",
    "Histogram": f"{_HISTOGRAM} start_timestamp=17:int64",
    "BucketSpan": _SPAN,
}


def _classes(package: str, messages: dict[str, str]) -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        choices: list[str] = []
        for text in fields.split():
            told, _, rest = text.partition("=")
            number, _, kind = rest.partition(":")
            kind, _, choice = kind.partition("@")
            repeated, kind = kind.startswith("*"), kind.lstrip("*")
            field = message.field.add(
                name=told, number=int(number), label=_F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL,
                type=_TYPES.get(kind, _F.TYPE_MESSAGE),
            )  # fmt: skip
            if kind not in _TYPES:
                field.type_name = f".{package}.{kind}"
            if choice:
                if choice not in choices:
                    choices.append(choice)
                    message.oneof_decl.add(name=choice)
                field.oneof_index = choices.index(choice)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


ONE, TWO = _classes("prometheus", _ONE), _classes("io.prometheus.write.v2", _TWO)
