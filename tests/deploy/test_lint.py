"""What a policy is warned of, and that its schema is the code's."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml

from deploy.cases import run_cases
from deploy.change import Origin, Phase, Provenance, Rollout
from deploy.differ import difference_to_object, differences
from deploy.errors import InvalidPolicy
from deploy.policy import Policy, parse_policy
from deploy.policy.lint import lint
from deploy.policy.read import parse_marked
from deploy.policy.schema import schema
from tests.deploy.test_policy import EXAMPLE, GATE, GATE_WRONG
from tests.factories import NOON, change

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PEOPLE = "people: {ada: {role: lead}, bo: {role: lead}, cem: {role: senior}}\nservices: {a: {tier: 1}, b: {tier: 2}}\n"


def warned(text: str) -> list[str]:
    policy, _, marks = parse_marked(PEOPLE + text, "p.yaml")
    return lint(policy, marks)


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("lanes: [{name: x, match: [origin=robot]}]", "3:19", "can never match; origin is one of ai, human"),
        ("lanes: [{name: x, match: ['origin=~rob.*']}]", "3:19", "can never match"),
        ("canaries: [{match: [tier=9]}]", "3:13", "tier is one of 1, 2"),
        ("blast_radius: [{match: [kind=codes]}]", "3:17", "kind is one of"),
        ("lanes: [{name: x, match: [service=a, service=b]}]", "3:19", "can never both match"),
        ("lanes: [{name: x, match: [origin=ai, 'origin!~ai|mixed']}]", "3:19", "can never both match"),
        ("lanes: [{name: x, match: [squad=x]}]", "3:19", "no built-in label"),
        ("lanes: [{name: x, match: ['origin=~.*']}, {name: y, match: [origin=ai]}]", "3:43", "y is shadowed by x"),
        ("lanes: [{name: x, match: [tier=1]}, {name: y, match: [tier=1, origin=ai]}]", "3:37", "y is shadowed by x"),
        (
            "approvals: {rules: [{role: lead}, {match: [tier=1], role: senior}]}",
            "3:35",
            "asks no more than approval rule 1",
        ),
        ("approvals: {rules: [{role: lead, count: 3}]}", "3:21", "there are 2: locks everybody out, the fixers too"),
        ("approvals: {rules: [{role: lead, count: 2}]}", "3:21", "nobody can approve what is theirs"),
        ("destructive: {count: 3}", "3:1", "it can never go"),
        ("tiers: {7: {}}", "3:9", "no service is of tier 7"),
        ("environments: {production: {}, prоduction: {}}", "3:32", "CYRILLIC SMALL LETTER O) looks like 'production'"),
    ],
)
def test_what_is_odd_is_warned_of(text: str, at: str, says: str) -> None:
    (line,) = warned(text)
    assert line.startswith(f"p.yaml:{at}: ")
    assert says in line


def test_what_is_in_order_is_not_warned_of() -> None:
    assert warned("") == []
    assert warned("lanes: [{name: x, match: [origin=ai]}, {name: y, match: ['origin=~ai|mixed']}]") == []
    assert warned("lanes: [{name: x, match: [tool=a, tool=b]}]") == [], "a change may have several tools"
    assert warned("approvals: {rules: [{match: [tier=1], role: lead}, {role: senior}]}") == []


def test_the_example_policy_is_in_order() -> None:
    policy, warnings, marks = parse_marked((EXAMPLES / "shop.yaml").read_text(), "shop.yaml")
    assert (warnings, lint(policy, marks)) == ([], [])


# -- the schema -------------------------------------------------------------------------------------------------------

VALID = jsonschema.Draft202012Validator(schema())


def document(text: str) -> object:
    """YAML as JSON has it: with keys that are text."""
    return json.loads(json.dumps(yaml.safe_load(text)))


def test_the_schema_that_ships_is_the_codes() -> None:
    """`haltline policy schema > examples/policy.schema.json` writes it."""
    assert json.loads((EXAMPLES / "policy.schema.json").read_text()) == schema()


def test_the_schema_has_every_field_of_every_struct() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    made = schema()
    assert set(made["properties"]) == set(Policy.__struct_fields__)
    for name, plain in msgspec.json.schema(Policy)["$defs"].items():
        if name not in ("Policy", "Effect") and "properties" in plain:
            assert set(made["$defs"][name]["properties"]) == set(plain["properties"]), name


@pytest.mark.parametrize("text", [EXAMPLE, GATE, (EXAMPLES / "shop.yaml").read_text(), "version: 1\n"])
def test_the_schema_accepts_what_is_read(text: str) -> None:
    parse_policy(text)
    VALID.validate(document(text))


@pytest.mark.parametrize(
    "text",
    [
        "mode: strict",
        "version: 2",
        "services: {a: {tier: high}}",
        "watch: {at_least: 30}",
        "watch: {at_least: soon}",
        "approvals: {unknown: human}",
        "approvals: {expires: 1}",
        "blast_radius: [{share: 0}]",
        "blast_radius: [{share: 2}]",
        "canaries: [{steps: 10%}]",
        "lanes: [{name: a}]",
        "guardrails: [{name: a, harm: sideways}]",
        "guardrails: [{name: a, value: m, least_effect: much}]",
        "tiers: {1: {when_unreachable: maybe}}",
    ],
)
def test_the_schema_refuses_what_the_code_refuses(text: str) -> None:
    with pytest.raises(InvalidPolicy):
        parse_policy(text)
    assert not VALID.is_valid(document(text))


def test_every_wrong_policy_is_refused_by_the_code_at_least() -> None:
    for text, *_ in GATE_WRONG:
        with pytest.raises(InvalidPolicy):
            parse_policy(text)


# -- another policy ---------------------------------------------------------------------------------------------------


def test_another_policys_other_answers_are_told_change_by_change() -> None:
    ai = Provenance(origin=Origin.AI, author="x")
    changes = [
        change("a", service="a", time=NOON, provenance=ai),
        change("a", service="a", time=NOON + 60_000, phase=Phase.FINISHED, provenance=ai),
        change("b", service="b", time=NOON + 1, provenance=ai),
        change("c", service="a", time=NOON + 2, provenance=Provenance(origin=Origin.HUMAN), rollout=Rollout(share=1.0)),
    ]
    old, _ = parse_policy("mode: enforce\n" + PEOPLE)
    new, _ = parse_policy(
        "mode: enforce\n" + PEOPLE + "approvals: {rules: [{match: [tier=1, origin=ai]}]}\nblast_radius: [{share: 50%}]"
    )
    told = list(differences(changes, old, new))
    assert [(one.change.id, one.differs) for one in told] == [("a", True), ("b", True), ("c", True)]
    assert [(one.old.decision.value, one.new.decision.value, one.new.max_share) for one in told] == [
        ("allow", "hold", None),
        ("allow", "allow", 0.5),
        ("allow", "allow", 0.5),
    ]
    assert difference_to_object(told[0])["new"]["decision"] == "hold"
    assert not any(one.differs for one in differences(changes, new, new))


def test_a_file_of_cases_that_is_none_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "p.cases.yaml"
    for text, at in (("cases:\n  - {name: x}", "2"), ("cases: 1", "1"), ("case: []", "1"), ("cases: [", "1")):
        path.write_text(text)
        with pytest.raises(InvalidPolicy, match=rf"p\.cases\.yaml:{at}:\d+: "):
            list(run_cases(path))
