"""How the worker reaches Kafka: options in librdkafka's names, as aiokafka and Faust take them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any


def security(client: Mapping[str, str]) -> dict[str, Any]:
    """aiokafka's security arguments for these options (already checked for names and values by the face)."""
    options: dict[str, Any] = {"security_protocol": client.get("security.protocol", "PLAINTEXT")}
    if options["security_protocol"] in ("SSL", "SASL_SSL"):
        options["ssl_context"] = ssl_context(client)
    if options["security_protocol"].startswith("SASL"):
        options["sasl_mechanism"] = client.get("sasl.mechanism", "PLAIN")
        options["sasl_plain_username"] = client.get("sasl.username")
        options["sasl_plain_password"] = client.get("sasl.password")
    return options


def ssl_context(client: Mapping[str, str]) -> ssl.SSLContext:
    """A context that verifies the broker, and its name unless that was switched off."""
    context = ssl.create_default_context(cafile=client.get("ssl.ca.location"))
    context.check_hostname = client.get("ssl.endpoint.identification.algorithm", "https") != "none"
    if certificate := client.get("ssl.certificate.location"):
        context.load_cert_chain(certificate, client.get("ssl.key.location"), client.get("ssl.key.password"))
    return context
