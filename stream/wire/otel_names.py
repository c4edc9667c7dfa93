"""How OpenTelemetry's names become those of a series: which attribute tells the service, its version, its instance.

Source: opentelemetry.io/docs/specs/semconv/resource. Whatever else a resource says of itself is no part of a series,
unless nothing else tells its instances apart.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping

import msgspec

from deploy.change import LONGEST_NAME
from stream.columns import MetricKind, SeriesKey
from stream.json_text import encode, unreadable

#: A point with more attributes is refused: nobody reads them, and each of its series would keep them all.
MOST_ATTRIBUTES = 128
#: What a resource without a name is called; the specification says so.
UNKNOWN_SERVICE = "unknown_service"
#: The scope stands among the attributes, as it does where OpenTelemetry is written for Prometheus.
SCOPE = "otel.scope.name"
_VERSION, _INSTANCE = "service.version", "service.instance.id"
_ENVIRONMENTS = ("deployment.environment.name", "deployment.environment")
#: What names an instance, the best first: a change names pods.
_INSTANCES = (_INSTANCE, "k8s.pod.name", "container.id", "faas.instance", "host.name", "host.id")
_NOT_WHICH = ("service.name", _VERSION, *_ENVIRONMENTS, "service.namespace")
_DIGEST = 16


class Resource(msgspec.Struct, frozen=True):
    """Who tells of a number."""

    service: str
    version: str
    instance: str
    environment: str


def resource_of(attributes: Mapping[str, str]) -> Resource:
    """Read a resource from its attributes, whose values are text already."""
    service = attributes.get("service.name", "")
    instance = next((attributes[name] for name in _INSTANCES if attributes.get(name)), None)
    if instance is None:
        telling = {
            name: text
            for name, text in attributes.items()
            if name not in _NOT_WHICH and not name.startswith("telemetry.")
        }
        instance = ",".join(f"{name}={text}" for name, text in sorted(telling.items()))
    return Resource(
        service=shortened(service) if service.strip() else UNKNOWN_SERVICE,
        version=shortened(attributes.get(_VERSION, "")),
        instance=shortened(instance),
        environment=shortened(next((attributes[name] for name in _ENVIRONMENTS if attributes.get(name)), "")),
    )


def key_of(
    resource: Resource,
    metric: str,
    unit: str,
    kind: MetricKind,
    attributes: Mapping[str, str],
    scope: str = "",
    part: str = "",
) -> SeriesKey:
    """The key of a series; an attribute of the point that says what the resource says wins.

    Raises:
        Unreadable: a metric without a name, or too many attributes.
    """
    if not metric.strip():
        raise unreadable("value", f"otlp: a metric of {resource.service} has an empty `name`")
    if len(attributes) > MOST_ATTRIBUTES:
        text = f"a point of {metric[:80]!r} of {resource.service} has {len(attributes)} attributes"
        raise unreadable("size", f"otlp: {text}, at most {MOST_ATTRIBUTES} are read")
    texts = dict(attributes)
    version = texts.pop(_VERSION, resource.version)
    instance = texts.pop(_INSTANCE, resource.instance)
    environment = texts.pop(_ENVIRONMENTS[0], resource.environment)
    if scope:
        texts.setdefault(SCOPE, scope)
    return SeriesKey(
        service=resource.service,
        environment=shortened(environment),
        metric=shortened(metric),
        attributes=tuple(sorted((shortened(name), shortened(text)) for name, text in texts.items())),
        version=shortened(version),
        instance=shortened(instance),
        kind=kind,
        unit=shortened(unit),
        part=part,
    )


def shortened(text: str) -> str:
    """A text no longer than a name may be; what is cut off is told apart by a digest.

    A statement or a stack trace as an attribute must not cost the whole batch that it came in.
    """
    if len(text) <= LONGEST_NAME:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST // 2).hexdigest()
    return f"{text[: LONGEST_NAME - _DIGEST - 1]}…{digest}"


def attribute_text(value: object) -> str:
    """An attribute's value as text: a string as it is, bytes in base64, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return encode(value).decode()
