"""JSON objects that stand one after the other in one record."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec

from stream.json_text import reading, unreadable

_decoder = json.JSONDecoder()


def objects(what: str, value: bytes) -> Iterator[bytes]:
    """The text of each object, cut out and not yet read strictly; `what` names the format.

    Raises:
        Unreadable: `syntax`, at the first thing that is no object.
    """
    if value.lstrip()[:1] != b"{":
        with reading(what, value):
            msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise unreadable("syntax", f"{what}: not UTF-8 ({error.reason} at byte {error.start})") from None
    place = len(text) - len(text.lstrip(" \t\r\n"))
    while place < len(text):
        try:
            _, end = _decoder.raw_decode(text, place)
        except RecursionError:
            raise unreadable("syntax", f"{what}: nested too deeply") from None
        except json.JSONDecodeError as error:
            raise unreadable("syntax", f"{what}: {error}") from None
        except ValueError:
            # Python refuses integers of thousands of digits.
            raise unreadable("value", f"{what}: a number is out of range") from None
        yield text[place:end].encode()
        place = end
        while place < len(text) and text[place] in " \t\r\n":
            place += 1
