"""`haltline approve`: a named person says yes to one revision of one change, or takes it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from deploy.change import Approver
from deploy.order import Order, Verb
from deploy.people import People
from deploy.policy import Policy
from deploy.question import Question
from deploy.times import format_time, parse_time
from haltline import view
from haltline.cli.kinds import brief
from haltline.cli.options import connection, now_ms, settings_of, text, warn
from haltline.cli.orders import issue, new_id
from haltline.cli.output import clean
from haltline.errors import HaltlineError, NotFound, UnreadableInput
from haltline.gate import BACK_MS
from haltline.rules import in_force, topics_of
from haltline.state import State

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: A check that names no change is asked under this id; a yes to that would be a yes to everybody's.
_NOBODY = "-"


@click.command()
@click.argument("what", metavar="CHANGE|QUESTION", callback=text)
@click.option("--revision", help="Commit that is approved.  [default: the one that was asked about]", callback=text)
@click.option("--confirms", metavar="loss-...", help="Confirm exactly this list of losses.", callback=text)
@click.option("--since", metavar="TIME", help="When you could begin to read it (RFC 3339).")
@click.option("--reason", default="", help="What you looked at; it stands in the change's story.", callback=text)
@click.option("--by", help="Who you are in the policy.  [default: your user name]", callback=text)
@click.option("--key", type=click.Path(path_type=Path), metavar="FILE",
              help="Your Ed25519 private key.  [default: HALTLINE_SIGNING_KEY_FILE]")  # fmt: skip
@click.option("--refuse", is_flag=True, help="Say no instead; it holds until you say otherwise. Needs --reason.")
@click.option("--withdraw", is_flag=True, help="Take back all that you said of this change.")
@click.option("--dry-run", is_flag=True, help="Say what it would approve, and do nothing.")
@connection
@click.pass_context
def approve(
    ctx: click.Context,
    what: str,
    revision: str | None,
    confirms: str | None,
    since: str | None,
    reason: str,
    by: str | None,
    key: Path | None,
    refuse: bool,
    withdraw: bool,
    dry_run: bool,
) -> None:
    """Answer a hold: approve one revision of a change, as the gate's question asks. Prints what was approved.

    \b
    Examples:
      haltline approve qn-0123456789ab --reason "read all of it"
      haltline approve checkout-481 --revision 3484a3fb9d0c
      haltline approve shop-12 --confirms loss-0123456789
      haltline approve qn-0123456789ab --refuse --reason "no way back from this migration"
      haltline approve checkout-481 --withdraw

    Whether it counts is for the gate to say: by a person the policy names, senior enough, neither author nor operator,
    not faster than it can be read. Who you are is your word and Kafka's right to write, unless the policy has public
    keys of yours: then it must be signed with one, and nobody else can say yes for you.
    """
    if refuse and (withdraw or not reason.strip()):
        raise click.UsageError("--refuse needs --reason, and goes without --withdraw", ctx)
    settings = settings_of(ctx)
    topics = (view.ORDERS, view.CHANGES, view.LEDGER, *topics_of(settings))
    state = view.read_state(settings, topics=topics, warn=warn, since={view.LEDGER: now_ms() - BACK_MS})
    asked = _asked(state, what)
    change = asked.change if asked is not None else what
    who = by or settings.user
    verb, now = Verb.WITHDRAW if withdraw else Verb.REFUSE if refuse else Verb.APPROVE, now_ms()
    if asked is None and change not in state.changes and revision is None and not withdraw:
        raise NotFound(f"nothing was asked about {what} and no record tells of it; --revision names what you approve")
    if change == _NOBODY:
        raise HaltlineError("the check that asked named no change; ask again with --change, so that a yes is of one")
    found = "" if withdraw else revision or _revision(state, asked, change)
    loss = confirms if confirms is not None else asked.confirms if asked is not None and not withdraw else ""
    order = Order(
        id=new_id(),
        verb=verb,
        time=now,
        by=who,
        reason=reason.strip(),
        change=change,
        revision=found.strip().lower(),
        since=parse_time(since) if since is not None else None,
        confirms=loss,
    )
    keys = _keys_known(in_force(settings, state, warn), who)
    file = key or settings.signing_key
    if file is not None and not withdraw:
        order = _signed(order, _private(file))
    elif keys and not withdraw:
        raise HaltlineError(f"the policy has a key of {who}: sign with it, --key FILE or HALTLINE_SIGNING_KEY_FILE")
    if asked is not None and not withdraw:
        _show(asked)
    if not dry_run:
        issue(settings, [order])
    click.echo(clean(_told(order, dry_run=dry_run)))


def _asked(state: State, what: str) -> Question | None:
    """The question of this id, or the last that was asked about a change of this id."""
    found = [one for one in state.questions.values() if what in (one.id, one.change)]
    if not found and what.startswith("qn-"):
        raise NotFound(f"no question {what} was asked in the last day; `haltline load` shows who was asked")
    return max(found, key=lambda one: one.asked_at, default=None)


def _revision(state: State, asked: Question | None, change: str) -> str:
    """What a yes is of: what was asked about, else what is recorded of the change."""
    known = state.told(change).vcs.revision if change in state.changes else ""
    found = asked.revision if asked is not None else known
    if not found:
        raise HaltlineError(f"which revision of {change}? nobody told; --revision names what you approve")
    return found


def _keys_known(policy: Policy, who: str) -> tuple[str, ...]:
    """The keys that the policy has of this person; warns where it names nobody of that name."""
    if not policy.people:
        return ()
    name = People(policy).find(who)
    if name is None:
        warn(f"the policy names nobody {who!r}, so it will not count; --by says who you are")
        return ()
    return policy.people[name].keys


def _private(path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    try:
        body = path.read_bytes()
    except OSError as error:
        raise UnreadableInput(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    load = load_ssh_private_key if b"OPENSSH" in body else load_pem_private_key
    try:
        key = load(body, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = "it has a passphrase, which cannot be asked for here" if "assw" in str(error) else "no private key"
        raise UnreadableInput(f"{path}: {why}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UnreadableInput(f"{path}: not an Ed25519 key, as `ssh-keygen -t ed25519` makes it")
    return key


def _signed(order: Order, key: Ed25519PrivateKey) -> Order:
    from deploy.signature import sign

    approver = Approver(who=order.by, at=format_time(order.time), revision=order.revision, confirms=order.confirms)
    approver = msgspec.structs.replace(approver, refused=order.verb is Verb.REFUSE)
    return msgspec.structs.replace(order, signature=sign(approver, order.change, key).signature)


def _show(asked: Question) -> None:
    """What the gate asked, whole: a yes is to this."""
    click.echo(clean(f"{asked.id}, asked of {asked.to} until {brief(asked.deadline)}: {asked.asks}"), err=True)
    for line in asked.evidence:
        click.echo(clean(f"  {line}"), err=True)


def _told(order: Order, *, dry_run: bool) -> str:
    would = "would have " if dry_run else ""
    if order.verb is Verb.WITHDRAW:
        return f"{order.by} {'would have taken' if dry_run else 'took'} back what they said of {order.change}"
    if order.verb is Verb.REFUSE:
        return f"{order.by} {would}refused {order.revision} of {order.change}"
    what = f"confirmed {order.confirms} of" if order.confirms else "approved"
    signed = ", signed" if order.signature else ""
    return f"{order.by} {would}{what} {order.revision} of {order.change}{signed}"
