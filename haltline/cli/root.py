"""The root command and the table of all others."""

from __future__ import annotations

import click

from haltline.cli.face import CONTEXT, Face

_HERE = "haltline.cli"
SECTIONS = {
    "Stop and go": {
        "freeze": (f"{_HERE}.freeze:freeze", "Freeze a scope of changes for a time; prints the freeze's id"),
        "unfreeze": (f"{_HERE}.unfreeze:unfreeze", "End freezes now"),
        "approve": (f"{_HERE}.approve:approve", "Say yes to one revision of a change, as the gate asked"),
        "check": (f"{_HERE}.check:check", "May this change go? Exit 0: yes, 3: frozen or held, 1: could not find out"),
    },
    "See": {
        "get": (f"{_HERE}.get:get", "List freezes, changes, verdicts, services, classes or lanes"),
        "describe": (f"{_HERE}.describe:describe", "Show all about one freeze, change or service"),
        "explain": (f"{_HERE}.explain:explain", "Say why a change was judged as it was, and what would turn it"),
        "watch": (f"{_HERE}.watch:watch", "Follow freezes and verdicts as they happen"),
    },
    "Who made it": {
        "provenance": (f"{_HERE}.provenance:provenance", "Who or what made the commits of a git checkout, offline"),
        "touchpoints": (
            f"{_HERE}.touchpoints:touchpoints",
            "Where AI reached production in a period, and the harm so far",
        ),
    },
    "Send": {
        "send": (f"{_HERE}.send:send", "Send changes, telemetry, or evidence of who made changes"),
    },
    "Run": {
        "up": (f"{_HERE}.up:up", "Run all of haltline on this machine: Kafka, topics, worker"),
        "worker": (f"{_HERE}.worker:worker", "Run one worker in the foreground"),
        "topics": (f"{_HERE}.topics:topics", "Show haltline's topics and create the missing ones"),
        "demo": (f"{_HERE}.demo:demo", "Watch haltline stop a harmful change in a small living shop"),
    },
    "Try on recordings": {
        "replay": (f"{_HERE}.replay:replay", "Judge recorded changes and telemetry; same input, same bytes out"),
        "backtest": (f"{_HERE}.backtest:backtest", "Learn from your own history what it would have done, what to set"),
        "score": (f"{_HERE}.score:score", "Score how odd each sample of one series is"),
    },
    "Decide what may go": {
        "policy": (f"{_HERE}.policy:policy", "Lint a policy, run its cases, compare two, put one in force"),
        "load": (f"{_HERE}.load:load", "Show how much people are asked and how busy the lanes are"),
        "guard": (f"{_HERE}.guard:guard", "Run a deploy command under a check; end it when a freeze arrives"),
        "serve": (f"{_HERE}.serve:serve", "Answer checks over HTTP from memory"),
    },
    "Set up": {
        "config": (f"{_HERE}.config:config", "Show and change the contexts in the configuration file"),
        "completion": (f"{_HERE}.completion:completion", "Print the completion script for bash, zsh or fish"),
        "version": (f"{_HERE}.version:version", "Print the version"),
    },
}


@click.group(
    cls=Face,
    sections=SECTIONS,
    context_settings=CONTEXT,
    invoke_without_command=True,
    subcommand_metavar="COMMAND ...",
    options_metavar="",
)
@click.option("--context", help="Context of the configuration file to use.")
@click.option("-b", "--bootstrap-servers", metavar="HOST:PORT,...", help="Kafka to use.")
@click.option("-X", "options", multiple=True, metavar="NAME=VALUE", help="Connection option as librdkafka names it.")
@click.pass_context
def haltline(ctx: click.Context, context: str | None, bootstrap_servers: str | None, options: tuple[str, ...]) -> None:
    """The circuit breaker for production change.

    \b
    Examples:
      haltline up                                                  run it all on this machine
      haltline check --service checkout                            may it go? (0 yes, 3 frozen, 1 unknown)
      haltline freeze checkout --for 30m --reason "incident 7"     stop deploys of one service
      haltline unfreeze fz-0123456789ab --reason "fixed"           let them go again
      haltline get freezes --watch                                 what is frozen, as it changes
      haltline explain checkout-481                                why was this change stopped?
    """
    ctx.obj = {"context": context, "bootstrap_servers": bootstrap_servers, "options": options}
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
