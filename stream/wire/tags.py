"""Which tags, labels or attributes say whose a number is, in formats that have no resource."""

from __future__ import annotations

import re

from stream.columns import MetricKind, SeriesKey
from stream.json_text import unreadable
from stream.wire.native_change import check_name

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
    otherwise: str = "",
) -> SeriesKey:
    """The key of a series that has a name and tags; an empty tag is none. `otherwise` is its service if no tag says it.

    Raises:
        Unreadable: no name, no service, or longer than names are.
    """
    tags = {name: text for name, text in tags.items() if text}
    key = SeriesKey(
        service=taken(tags, service) or otherwise,
        environment=taken(tags, ENVIRONMENT),
        metric=metric,
        version=taken(tags, VERSION),
        instance=taken(tags, instance),
        attributes=tuple(sorted(tags.items())),
        kind=MetricKind.CUMULATIVE if _COUNTER.search(metric) else MetricKind.GAUGE,
    )
    if not key.metric.strip():
        raise unreadable("value", f"{what}: a metric has an empty name")
    if not key.service.strip():
        names = ", ".join(service)
        raise unreadable("value", f"{what}: metric {metric[:80]!r} has none of the tags {names}")
    check_lengths(what, key)
    return key


def taken(tags: dict[str, str], names: tuple[str, ...]) -> str:
    """The first of these tags that is there, which is taken out; empty if none is."""
    for name in names:
        if name in tags:
            return tags.pop(name)
    return ""


def check_lengths(what: str, key: SeriesKey) -> None:
    """Refuse a key of which a part is longer than any name."""
    for field in ("service", "environment", "metric", "version", "instance", "unit"):
        check_name(what, field, getattr(key, field), empty=True)
    for name, text in key.attributes:
        check_name(what, "attributes", name, empty=True)
        check_name(what, f"attributes.{name}", text, empty=True)
