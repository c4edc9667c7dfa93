"""Dead letters: what could not be read, its bytes unchanged, and six headers that say where it was and why."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Final

from stream.cloudevents import Headers
from stream.wire.outgoing import Wire

#: The six names that Kafka Streams gives to the same things, under our own prefix.
PREFIX: Final = "__haltline.errors."
#: A header is carried in full by every reader of the topic.
_LONGEST = 8_192


def dead_letter(
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    error: BaseException,
) -> Wire:
    """The dead letter of one record: key, value and headers as they were, and the six headers after them."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())
    said = {
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "exception": f"{type(error).__module__}.{type(error).__qualname__}",
        "message": str(error),
        "stacktrace": "".join(traceback.format_exception(error)),
    }
    added = [(f"{PREFIX}{name}", _utf8(text)) for name, text in said.items()]
    return Wire(key=key, value=value, headers=[*pairs, *added])


def _utf8(text: str) -> bytes:
    """The text as UTF-8, its end cut off where it is too long, without half a character at the cut."""
    return text.encode(errors="replace")[:_LONGEST].decode(errors="ignore").encode()
