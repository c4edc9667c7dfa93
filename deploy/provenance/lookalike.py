"""Unicode look-alikes: what a text imitates.

A sign of an AI is read as what it looks like, so that a foreign letter cannot hide it. A name that gives a right, such
as an approver's, is refused instead, so that a foreign letter cannot lend it.
"""

from __future__ import annotations

import unicodedata

#: Letters that look like ASCII ones and that NFKC leaves alone (from Unicode's confusables.txt: Cyrillic, Greek,
#: Armenian, Latin extensions), and hyphens.
_PAIRS = (
    "аa АA ВB сc СC ԁd еe ЕE ғf ԍg ɡg һh НH іi ІI ӏl јj ЈJ кk КK МM пn оo ОO рp РP ԛq ѕs ЅS тt ТT ѵv ѡw ԝw хx ХX уy УY "
    "ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO ΡP ΤT ΥY ΧX οo νv ιi αa υu ρp κk τt օo հh ոn սu ցg ıi ɑa ʏy "
    "‐- ‑- ‒- –- —- ―- −- ﹣- ⁃- ∶: ：: ꞉: ։:"
)
_FOLD = str.maketrans({pair[0]: pair[1] for pair in _PAIRS.split()})


def fold(text: str) -> str:
    """The ASCII that a text looks like, as far as it looks like any; what has no width is gone.

    >>> fold("Аssisted‑by"), fold("José"), fold("Cla\\u200bude")
    ('Assisted-by', 'José', 'Claude')
    """
    if text.isascii():
        return text
    seen = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return seen.translate(_FOLD)


def imitates(text: str) -> str | None:
    """What a text passes itself off as; None where it is what it looks like.

    >>> imitates("аlice@example.org"), imitates("alice@example.org"), imitates("Иван")
    ('alice@example.org', None, None)
    """
    folded = fold(text)
    return folded if folded != unicodedata.normalize("NFC", text) and folded.isascii() else None
