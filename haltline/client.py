"""Connection options in librdkafka's names, as kcat and most Kafka documents write them, and in kafka-python's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haltline.errors import InvalidSettings

#: librdkafka's name of each option that is understood, and kafka-python's.
OPTIONS = {
    "client.id": "client_id",
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "sasl.kerberos.service.name": "sasl_kerberos_service_name",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.key.password": "ssl_password",
    "ssl.endpoint.identification.algorithm": "ssl_check_hostname",
}
#: What no command line may carry, because every process of the machine can read it there.
SECRETS = frozenset({"sasl.password", "ssl.key.password"})
CHOICES = {
    "security.protocol": ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "sasl.mechanism": ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI"),
    "ssl.endpoint.identification.algorithm": ("https", "none"),
}
_ALIASES = {"sasl.mechanisms": "sasl.mechanism"}


def checked(options: Mapping[str, str], source: str) -> dict[str, str]:
    """The options under their first names, each one known and of a valid value.

    Raises:
        InvalidSettings: naming the source, the option and what would be valid.
    """
    result = {}
    for name, value in options.items():
        name = _ALIASES.get(name, name)
        if name not in OPTIONS:
            raise InvalidSettings(f"{source}: {name!r} is not an option of the connection; valid: {', '.join(OPTIONS)}")
        if name in CHOICES and value not in CHOICES[name]:
            matching = [choice for choice in CHOICES[name] if choice.lower() == value.lower()]
            if not matching:
                raise InvalidSettings(f"{source}: {name} is {value!r}, must be one of {', '.join(CHOICES[name])}")
            value = matching[0]
        result[name] = value
    return result


def kafka_python(options: Mapping[str, str]) -> dict[str, Any]:
    """The keyword arguments of kafka-python's clients for these options.

    >>> kafka_python({"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "none"})
    {'security_protocol': 'SSL', 'ssl_check_hostname': False}
    """
    keywords: dict[str, Any] = {OPTIONS[name]: value for name, value in options.items()}
    if "ssl_check_hostname" in keywords:
        keywords["ssl_check_hostname"] = keywords["ssl_check_hostname"] == "https"
    return keywords
