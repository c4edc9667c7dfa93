"""`haltline freeze`: a person stops a scope of changes, with or without a worker running."""

from __future__ import annotations

import re
import sys

import click

from deploy.change import Change, labels_of
from deploy.freeze import Freeze, FreezeBook, freeze_to_object
from deploy.order import Order, Verb, order_from_object, order_to_object
from deploy.scope import Matcher, parse_scope
from deploy.times import LATEST_MS, parse_duration, parse_time
from haltline.cli.kinds import brief
from haltline.cli.options import connection, now_ms, output, settings_of, text, warn
from haltline.cli.orders import issue, new_id
from haltline.cli.output import clean, json_text, yaml_text

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_KNOWN = frozenset(labels_of(Change(id="-", service="-", time=0), tier=0))


@click.command()
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...", callback=text)
@click.option("--for", "duration", default="1h", show_default=True, metavar="DURATION", help="How long.")
@click.option("--reason", required=True, help="Why; everybody who is held will read it.", callback=text)
@click.option("--by", help="Who orders it.  [default: your user name]", callback=text)
@click.option("--start", metavar="TIME", help="When it begins (RFC 3339).  [default: now]")
@click.option("--dry-run", is_flag=True, help="Print the freeze and do nothing.")
@output("json", "yaml")
@connection
@click.pass_context
def freeze(
    ctx: click.Context,
    matchers: tuple[str, ...],
    duration: str,
    reason: str,
    by: str | None,
    start: str | None,
    dry_run: bool,
    form: str | None,
) -> None:
    """Freeze the changes that all MATCHERs match, for a time. Prints the id of the freeze.

    \b
    Examples:
      haltline freeze checkout --for 30m --reason "incident 7"
      haltline freeze service=checkout environment=production --for 2h --reason "sale"
      haltline freeze 'origin=~ai|mixed' tier=1 --for 8h --reason "model rolled back"
      haltline freeze 'service=~pay.*' --start 2026-11-27T00:00:00Z --for 24h --reason "black friday"

    A MATCHER is NAME=VALUE, NAME!=VALUE, NAME=~PATTERN or NAME!~PATTERN over the labels of changes; a word alone is
    a service. It holds from the moment the id is printed, whether or not a worker runs. Reverts pass it.
    """
    settings = settings_of(ctx)
    scope = parse_scope(f'service="{word}"' if _WORD.fullmatch(word) else word for word in matchers)
    length = parse_duration(duration)
    if length <= 0:
        raise click.BadParameter(f"{duration!r} is no time at all", ctx, param_hint="--for")
    if not reason.strip():
        raise click.BadParameter("must say something", ctx, param_hint="--reason")
    now = now_ms()
    starts_at = parse_time(start) if start is not None else None
    ends_at = (starts_at or now) + length
    if ends_at >= LATEST_MS:
        raise click.BadParameter(f"{duration!r} ends beyond 2099", ctx, param_hint="--for")
    if ends_at <= now:
        raise click.BadParameter(f"{start} and {duration} end in the past", ctx, param_hint="--start")
    order = Order(
        id=new_id(),
        verb=Verb.FREEZE,
        time=now,
        by=by or settings.user,
        reason=reason.strip(),
        matchers=tuple(map(str, scope)),
        starts_at=starts_at,
        ends_at=ends_at,
    )
    [made] = FreezeBook().order(order_from_object(order_to_object(order)))
    for matcher in scope:
        if matcher.name not in _KNOWN:
            warn(f"`{matcher.name}` is no built-in label: only changes that carry it as their own are matched")
    if not dry_run:
        issue(settings, [order])
    _tell(made, form, scope, dry_run=dry_run)


def _tell(made: Freeze, form: str | None, scope: tuple[Matcher, ...], *, dry_run: bool) -> None:
    if form == "json":
        click.echo(json_text(freeze_to_object(made)))
    elif form == "yaml":
        click.echo(yaml_text(freeze_to_object(made)))
    elif dry_run:
        matchers = ", ".join(map(str, scope))
        click.echo(clean(f"would freeze {matchers} from {brief(made.starts_at)} until {brief(made.ends_at)}"))
    else:
        click.echo(made.id)
        if sys.stdout.isatty():
            click.echo(
                f"frozen until {brief(made.ends_at)}; `haltline unfreeze {made.id} --reason ...` ends it", err=True
            )
