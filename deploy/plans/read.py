"""Which format a plan is in, and its reader."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from deploy.plans import cloudformation, kubernetes, terraform
from deploy.plans.plan import LARGEST, Found, Plan


class _Probe(msgspec.Struct, frozen=True):
    """The keys that tell the formats apart; `Raw` skips what is behind them without building it."""

    format_version: msgspec.Raw = msgspec.Raw()
    terraform_version: msgspec.Raw = msgspec.Raw()
    resource_changes: msgspec.Raw = msgspec.Raw()
    level: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="@level")
    Changes: msgspec.Raw = msgspec.Raw()
    ChangeSetName: msgspec.Raw = msgspec.Raw()
    kind: msgspec.Raw = msgspec.Raw()


def read_plan(data: bytes | memoryview) -> Plan:
    """Read a plan in any format that is known; what cannot be read is a plan with something unknown in it.

    Time and memory grow with the bytes and not with what they say: 100 MB take about a second.
    """
    found = Found()
    if len(data) > LARGEST:
        found.unknown(f"the plan has {len(data):,} bytes, more than {LARGEST:,}, and was not read")
        return found.plan("unread", "")
    digest = hashlib.sha256(data).hexdigest()
    form, read = _format(data)
    if read is None:
        found.unknown("it is no plan of Terraform, Kubernetes or CloudFormation")
        return found.plan(form, digest)
    try:
        read(data, found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found.unknown(f"it cannot be read as a plan of {form}: {str(error)[:200]}")
    return found.plan(form, digest)


def _format(data: bytes | memoryview) -> tuple[str, Callable[[Any, Found], None] | None]:
    start = bytes(data[:4096]).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"{"):
        text = start.decode(errors="replace")
        return ("kubernetes", kubernetes.read_text) if kubernetes.accepts(text) else ("unknown", None)
    first = bytes(data[: len(start.partition(b"\n")[0]) + 16]) if start.startswith(b'{"@') else b""
    if first:
        return "terraform", terraform.read_lines
    try:
        probe = msgspec.json.decode(data, type=_Probe)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Broken, but by its beginning perhaps no longer a mystery; whatever it is, its reader will say what is wrong.
        return "terraform", terraform.read
    if len(probe.Changes) or len(probe.ChangeSetName):
        return "cloudformation", cloudformation.read
    if len(probe.resource_changes) or len(probe.format_version) or len(probe.terraform_version):
        return "terraform", terraform.read
    if bytes(probe.kind) == b'"Application"':
        return "kubernetes", kubernetes.read_application
    return "unknown", None
