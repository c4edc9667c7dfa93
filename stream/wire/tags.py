"""Which tags, labels or attributes say whose a number is, in formats that have no resource."""

from __future__ import annotations

import re

from stream.columns import MetricKind, SeriesKey
from stream.json_text import unreadable
from stream.wire.otel_names import MOST_ATTRIBUTES, UNKNOWN_SERVICE, shortened

#: Whose number it is, by which instance of which version, where: the first tag that is there says it.
SERVICE = ("service.name", "service_name")
VERSION = ("service.version", "service_version", "version")
INSTANCE = ("service.instance.id", "service_instance_id", "instance")
ENVIRONMENT = (
    "deployment.environment.name",
    "deployment_environment_name",
    "deployment.environment",
    "deployment_environment",
    "environment",
    "env",
)
#: What Prometheus calls the service and its instance. Source: OpenTelemetry, Prometheus and OpenMetrics compatibility.
PROMETHEUS_SERVICE = (*SERVICE, "job")
#: What those who configure Telegraf call them; its own tag is `host`.
TELEGRAF_SERVICE = (*SERVICE, "service", "app", "job")
TELEGRAF_INSTANCE = (*INSTANCE, "host")
#: Names that count since a start. Source: Prometheus, Metric and label naming.
_COUNTER = re.compile(r"_(total|count|sum|bucket)$")


def tagged_key(
    what: str,
    metric: str,
    tags: dict[str, str],
    service: tuple[str, ...],
    instance: tuple[str, ...] = INSTANCE,
    otherwise: str = UNKNOWN_SERVICE,
) -> SeriesKey:
    """The key of a series that has a name and tags; an empty tag is none. `otherwise` is its service if no tag says it.

    Raises:
        Unreadable: a metric without a name, or too many tags.
    """
    if not metric.strip():
        raise unreadable("value", f"{what}: a metric has an empty name")
    if len(tags) > MOST_ATTRIBUTES:
        raise unreadable("size", f"{what}: {metric[:80]!r} has {len(tags)} tags, at most {MOST_ATTRIBUTES} are read")
    texts = {shortened(name): shortened(text) for name, text in tags.items() if text.strip()}
    return SeriesKey(
        service=taken(texts, service) or otherwise,
        environment=taken(texts, ENVIRONMENT),
        metric=shortened(metric),
        version=taken(texts, VERSION),
        instance=taken(texts, instance),
        attributes=tuple(sorted(texts.items())),
        kind=MetricKind.CUMULATIVE if _COUNTER.search(metric) else MetricKind.GAUGE,
    )


def taken(tags: dict[str, str], names: tuple[str, ...]) -> str:
    """The first of these tags that is there, which is taken out; empty if none is."""
    for name in names:
        if name in tags:
            return tags.pop(name)
    return ""
