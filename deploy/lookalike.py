"""Names that look like other names: letters of another script, invisible ones, another case."""

from __future__ import annotations

import unicodedata
from functools import lru_cache


@lru_cache(maxsize=4096)
def skeleton(name: str) -> str:
    """What a name looks like: two names with the same skeleton can be taken for each other.

    >>> skeleton("сheckout") == skeleton("Checkout"), skeleton("check\u200bout"), skeleton("cart") == skeleton("card")
    (True, 'checkout', False)
    """
    plain = unicodedata.normalize("NFKC", name)
    if not plain.isascii():
        plain = "".join(_letter(letter) for letter in unicodedata.normalize("NFD", plain))
    return plain.strip().casefold()


def _letter(letter: str) -> str:
    """The ASCII letter that it looks like, nothing for what cannot be seen, or itself."""
    if letter.isascii():
        return letter
    if unicodedata.category(letter) in ("Cf", "Mn", "Cc"):
        return ""
    return _confusable(letter)


@lru_cache(maxsize=4096)
def _confusable(letter: str) -> str:
    # Unicode's own table of confusables (UTS 39); half a megabyte, so only for a name that needs it.
    from confusable_homoglyphs import confusables

    for found in confusables.is_confusable(letter, greedy=True) or ():
        for glyph in found["homoglyphs"]:
            if str(glyph["c"]).isascii():
                return str(glyph["c"])
    return letter


def spelt(name: str) -> str:
    """A name with its foreign letters spelt out: `сheckout` (U+0441 CYRILLIC SMALL LETTER ES)."""
    foreign = [letter for letter in dict.fromkeys(name) if not letter.isascii()]
    if not foreign:
        return repr(name)
    said = ", ".join(f"U+{ord(one):04X} {unicodedata.name(one, 'without a name')}" for one in foreign[:3])
    return f"{name!r} ({said})"
