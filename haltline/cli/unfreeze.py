"""`haltline unfreeze`: a person lets changes go again."""

from __future__ import annotations

from collections.abc import Sequence

import click

from deploy.freeze import Freeze, FreezeBook, State, state_of
from deploy.order import Order, Verb
from deploy.scope import parse_scope
from haltline import view
from haltline.cli.kinds import brief
from haltline.cli.options import connection, now_ms, settings_of, text, warn
from haltline.cli.orders import issue, new_id
from haltline.cli.output import clean
from haltline.errors import NotFound


@click.command()
@click.argument("which", nargs=-1, required=True, metavar="ID...|MATCHER...", callback=text)
@click.option("--reason", required=True, help="Why.", callback=text)
@click.option("--by", help="Who orders it.  [default: your user name]", callback=text)
@click.option("--dry-run", is_flag=True, help="Say which freezes it would end, and do nothing.")
@connection
@click.pass_context
def unfreeze(ctx: click.Context, which: tuple[str, ...], reason: str, by: str | None, dry_run: bool) -> None:
    """End freezes now: those with these ids, or those whose scope is exactly these MATCHERs. Prints their ids.

    \b
    Examples:
      haltline unfreeze fz-0123456789ab --reason "rolled back, prices are right again"
      haltline unfreeze checkout --reason "false alarm"
      haltline unfreeze service=checkout environment=production --reason "fixed" --dry-run
    """
    if not reason.strip():
        raise click.BadParameter("must say something", ctx, param_hint="--reason")
    settings = settings_of(ctx)
    book = view.read_state(settings, topics=(view.FREEZES, view.ORDERS), warn=warn).freezes
    now = now_ms()
    live = [freeze for freeze in chosen(book, which, now) if state_of(freeze, now) is not State.EXPIRED]
    orders = [
        Order(
            id=new_id(), verb=Verb.UNFREEZE, time=now, by=by or settings.user, reason=reason.strip(), freeze=freeze.id
        )
        for freeze in live
    ]
    if orders and not dry_run:
        issue(settings, orders)
    for freeze in live:
        scope = ", ".join(freeze.matchers)
        click.echo(clean(f"would end {freeze.id} ({scope})") if dry_run else freeze.id)


def chosen(book: FreezeBook, which: Sequence[str], now: int) -> list[Freeze]:
    """The freezes that are meant; `NotFound` when there are none, with what there is."""
    words = [word.removeprefix("freeze/") for word in which]
    matchers = [word for word in words if "=" in word or "!~" in word]
    if matchers and len(matchers) < len(words):
        raise click.UsageError("give either ids or matchers, not both")
    if not matchers:
        known = [book.get(word) for word in words]
        if not any(known) and len(words) == 1 and not words[0].startswith("fz-"):
            return _of_scope(book, [f'service="{words[0]}"'], now)
        missing = [word for word, freeze in zip(words, known, strict=True) if freeze is None]
        if missing:
            raise NotFound(f"no freeze {', '.join(missing)}; `haltline get freezes` lists them")
        found = [freeze for freeze in known if freeze is not None]
        for freeze in found:
            if state_of(freeze, now) is State.EXPIRED:
                warn(f"{freeze.id} ended already, at {brief(freeze.ends_at)}")
        return found
    return _of_scope(book, matchers, now)


def _of_scope(book: FreezeBook, matchers: Sequence[str], now: int) -> list[Freeze]:
    scope = parse_scope(matchers)
    live = [freeze for freeze in book if state_of(freeze, now) is not State.EXPIRED]
    found = [freeze for freeze in live if parse_scope(freeze.matchers) == scope]
    if not found:
        near = [freeze.id for freeze in live if set(scope) & set(parse_scope(freeze.matchers))]
        hint = f"these mention it: {', '.join(near)}" if near else "`haltline get freezes` lists what there is"
        raise NotFound(f"no freeze that holds now has exactly the scope {', '.join(map(str, scope))}; {hint}")
    return found
