"""Why the local Kafka does not run, as errors whose text is one lower-case line that a person can act on."""

from __future__ import annotations

from stream.errors import BrokerUnavailable

__all__ = [
    "BrokerDied",
    "BrokerNotReady",
    "DataDirUnusable",
    "JarsUnavailable",
    "JavaUnavailable",
    "KafkaUnavailable",
    "PortTaken",
]


class KafkaUnavailable(BrokerUnavailable):
    """The local Kafka cannot be used; the text says what was tried and what to do."""


class JavaUnavailable(KafkaUnavailable):
    """No Java runtime, or one too old for this Kafka."""


class JarsUnavailable(KafkaUnavailable):
    """Kafka's jars are neither cached nor to be had, or they are not the ones the lock names."""


class PortTaken(KafkaUnavailable):
    """Something else listens on the wanted port."""


class DataDirUnusable(KafkaUnavailable):
    """The data folder cannot be written, or another broker is using it."""


class BrokerDied(KafkaUnavailable):
    """The broker's process ended by itself."""


class BrokerNotReady(KafkaUnavailable):
    """The broker runs but did not pass a record through in time."""
