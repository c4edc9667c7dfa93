"""Who did it: how changes that were active at once, and nobody, share what was seen.

Every change brings its own evidence, which weighs with its square, by what the control said and by when it grew: a
change that has just begun, or taken a further step of its rollout, did it rather than one long done. That weight stays
with the change, or moves to what explains it better (`deploy/explained.py`): a callee of the service that is ill
itself, whoever changed it, or trouble that is everywhere at once, which is nobody's. What unchanged neighbours show is
shared among the changes that they depend on. The weights, with one for nobody, then add up to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum, log

import msgspec

from deploy.calls import Calls
from deploy.explained import explained, near_shares
from deploy.suspect import Suspect, timing
from deploy.verdict import NOBODY, OTHERS, Share

#: The share in what its own evidence shows that a change needs to be frozen for it.
ENOUGH = 0.3
#: What the instances beside it say: the new ones are worse than the old, or just as the old.
_CONTROL = {"worse": 2.0, "same": 0.3, "other": 0.1}
_SAID = {
    "worse": "new worse than old beside it",
    "same": "new as old beside it",
    "other": "seen in the new instances of another change",
}
#: Shares that a verdict names, besides nobody's.
_NAMED = 8
#: What else a share is made of, at most so much of it.
_TAKEN = 3


class Blame(msgspec.Struct, frozen=True):
    """Who did what was seen: `shares` of each change and of nobody add up to one. `fits` is the part of a change's own
    evidence that nothing else explains better, 0 to 1: without it no freeze."""

    shares: Mapping[str, float]
    fits: Mapping[str, float]
    reasons: Mapping[str, str]

    def of(self, change: str) -> float:
        return self.shares.get(change, 0.0)

    def named(self, change: str) -> tuple[Share, ...]:
        """The shares to tell with a verdict of `change`: its own, the largest others, what is left, nobody's."""
        others = sorted((-share, one) for one, share in self.shares.items() if one not in (change, NOBODY))
        told = [change, *(one for _, one in others[:_NAMED])]
        rest = others[_NAMED:]
        shares = [Share(change=one, blame=self.shares[one], reason=self.reasons[one]) for one in told]
        if rest:
            left = fsum(-share for share, _ in rest)
            shares.append(Share(change=OTHERS, blame=left, reason=f"{len(rest)} others"))
        return (*shares, Share(change=NOBODY, blame=self.shares[NOBODY], reason=self.reasons[NOBODY]))


def blame(suspects: Sequence[Suspect], calls: Calls, error_rate: float) -> Blame:
    """Share the blame among these changes and nobody; the order of `suspects` changes nothing.

    Nobody weighs as much as a change that has just reached `error_rate`.

    >>> from deploy.policy import Policy
    >>> bad = Suspect("cart", -20.0, change="a", since=0, control="worse")
    >>> calm = Suspect("cart", -0.5, change="b", since=0)
    >>> found = blame([calm, bad], Calls(Policy()), 0.004)
    >>> {one or "nobody": round(share, 2) for one, share in found.shares.items()}
    {'a': 0.96, 'b': 0.0, 'nobody': 0.04}
    >>> found.reasons["a"]
    'log p -20.0 at cart, new worse than old beside it (x2)'
    """
    suspects = sorted(suspects, key=lambda one: one.change)
    said = {one.change: _control(one, suspects) for one in suspects}
    own = {one.change: one.strength**2 * _CONTROL.get(said[one.change], 1.0) * timing(one) for one in suspects}
    nobody = log(error_rate) ** 2
    moved = {one.change: explained(one, suspects, own, calls) for one in suspects}
    kept = {one: own[one] * (1.0 - fsum(part.share for part in moved[one])) for one in own}
    weights: dict[str, list[float]] = {one: [kept[one]] for one in own} | {NOBODY: [nobody]}
    reasons = {one.change: [_words(one, said[one.change])] for one in suspects} | {NOBODY: [f"{nobody:.0f} for chance"]}
    taken: dict[str, list[tuple[float, str]]] = {one: [] for one in weights}
    for one, parts in moved.items():
        for part in parts:
            weights[part.who].append(own[one] * part.share)
            reasons[one].append(f"{part.share:.0%} goes to {part.reason}")
            taken[part.who].append((own[one] * part.share, one))
    for near in near_shares(suspects, own, nobody, calls):
        weights[near.who].append(near.share)
        taken[near.who].append((near.share, near.reason))
    for one, found in taken.items():
        largest = sorted(found, key=lambda item: (-item[0], item[1]))[:_TAKEN]
        reasons[one] += [f"{weight:.0f} from {source}" for weight, source in largest if weight >= 0.5]
    sums = {one: fsum(parts) for one, parts in weights.items()}
    total = fsum(sums.values())
    return Blame(
        {one: weight / total for one, weight in sums.items()},
        {one.change: _fit(one, suspects, own, kept) for one in suspects},
        {one: "; ".join(words) for one, words in reasons.items()},
    )


def _fit(one: Suspect, suspects: Sequence[Suspect], own: Mapping[str, float], kept: Mapping[str, float]) -> float:
    """How much of its own evidence is its own doing, beside the other changes of the same service."""
    rivals = fsum(kept[other.change] for other in suspects if other.change != one.change and other.beside(one))
    together = own[one.change] + rivals
    return kept[one.change] / together if together > 0.0 else 0.0


def _control(one: Suspect, suspects: Sequence[Suspect]) -> str:
    """What the control says of it: what only the new instances of another change of the service show is not its own."""
    if not one.named and any(
        other.named and other.control == "worse" and other.beside(one) for other in suspects if other is not one
    ):
        return "other"
    return one.control


def _words(one: Suspect, control: str) -> str:
    words = f"log p {-one.strength:.1f} at {one.service}"
    if control:
        words += f", {_SAID[control]} (x{_CONTROL[control]:g})"
    part = timing(one)
    if part < 0.995:
        words += f", {one.since_step()} (x{part:.2f})"
    return words
