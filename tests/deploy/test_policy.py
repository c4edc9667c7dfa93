"""The policy file: what is read, and how what is wrong is named by file, line and what would be valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deploy.change import Origin, Provenance
from deploy.errors import InvalidPolicy
from deploy.freeze import Mode
from deploy.policy import (
    Breaker,
    Effect,
    Environment,
    Guardrail,
    Pace,
    Policy,
    Service,
    Unreachable,
    Watch,
    load_policy,
    parse_policy,
)
from tests import factories

EXAMPLE = """\
version: 1
mode: enforce                      # or observe, the default for every new scope
environments: {production: {guarded: true}, sandbox: {guarded: false}}   # an environment not named is guarded
services:
  checkout: {tier: 1, calls: [cart, payment]}       # calls: the dependency graph, optional
watch: {at_least: 30m, samples: 30, at_most: 24h}  # the default: the longer of the two, capped
guardrails:                        # none given: every metric is judged, both ways, with the default least effect
  - {name: error_ratio, errors: http.server.errors, over: http.server.requests, harm: up, least_effect: 0.005}
  - {name: p99, value: http.server.duration.p99, harm: up, least_effect: 10%}
  - {name: success, value: rpc.success_rate, harm: down, services: [frontend]}
"""


def test_the_documented_example_is_read() -> None:
    policy, warnings = parse_policy(EXAMPLE)
    assert warnings == []
    assert policy.mode is Mode.ENFORCE
    assert policy.guarded("production")
    assert policy.guarded("elsewhere")
    assert not policy.guarded("sandbox")
    assert (policy.tier_of("checkout"), policy.tier_of("cart")) == (1, None)
    assert policy.calls("checkout") == ("cart", "payment")
    ratio, p99, success = policy.guardrails
    assert (ratio.least_effect, p99.least_effect, success.least_effect) == (
        Effect(0.005, False),
        Effect(0.1, True),
        None,
    )
    assert ratio.metrics == ("http.server.errors", "http.server.requests")
    assert success.applies("frontend")
    assert not success.applies("checkout")


def test_classes_and_lanes_are_read() -> None:
    text = """
classes: {by: [origin, tool], products: [[origin, tier]], error_rate: 0.01}
lanes:
  - {name: ai, match: ['origin=~"ai|mixed"'], false_discovery: 0.1}
  - {name: people, match: [origin=human]}
"""
    policy, warnings = parse_policy(text)
    assert warnings == []
    assert policy.classes.dimensions == (("origin",), ("tool",), ("origin", "tier"))
    assert [(lane.name, lane.false_discovery) for lane in policy.lanes] == [("ai", 0.1), ("people", None)]


def test_without_a_word_classes_are_those_of_provenance() -> None:
    assert Policy().classes.dimensions == (("origin",), ("tool",), ("model",), ("autonomy",), ("team",), ("tier",))
    assert Policy().lanes == ()


@pytest.mark.parametrize("text", ["{}", "version: 1", "---\nversion: 1\n"])
def test_what_a_policy_leaves_out_is_the_default(text: str) -> None:
    assert parse_policy(text) == (Policy(), [])


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n", "---\n"])
def test_an_empty_file_is_no_policy_it_may_only_have_been_begun(text: str) -> None:
    with pytest.raises(InvalidPolicy, match="policy:1:1: says nothing; the least that a policy says is `version: 1`"):
        parse_policy(text)


@pytest.mark.parametrize("text", ['{"policy": "mode: ["}', "cases: []", "kind: Deployment\nspec: {}"])
def test_a_text_of_nothing_that_a_policy_says_is_none_and_replaces_none(text: str) -> None:
    with pytest.raises(InvalidPolicy, match="policy:1:1: says nothing that a policy says; known are version, mode"):
        parse_policy(text)


@pytest.mark.parametrize(
    ("period", "minutes"), [(0, 30), (1_000, 30), (60_000, 30), (300_000, 150), (86_400_000, 1_440)]
)
def test_the_watch_is_the_longer_of_time_and_samples_capped(period: int, minutes: int) -> None:
    assert Policy().watch.length(period) == minutes * 60_000


WRONG = [
    ("mode: strict", 1, "`mode`", "observe and enforce"),
    ("version: 2", 1, "`version`", "reads version 1"),
    ("version: one", 1, "`version`", "int"),
    ("\nservices: {a: {tier: high}}", 2, "`services.a.tier`", "int"),
    ("services:\n  a: {tier: 1}\n  b: {calls: cart}", 3, "`services.b.calls`", "array"),
    ("services:\n  a: {mode: on}", 2, "`services.a.mode`", "observe and enforce"),
    ("services: [a]", 1, "`services`", "object"),
    ("environments:\n  production: true", 2, "`environments.production`", "guarded"),
    ("environments:\n  a: {guarded: maybe}", 2, "`environments.a.guarded`", "bool"),
    ("watch:\n  at_least: soon", 2, "watch.at_least", "90s, 30m"),
    ("watch:\n  at_least: 30", 2, "watch.at_least", "90s, 30m"),
    ("watch: {samples: 0}", 1, "`watch.samples`", "at least 1"),
    ("peers: {history: 100}", 1, "`peers.history`", "at least 480"),
    ("peers: yes", 1, "`peers`", "object"),
    ("watch: {at_least: 2h, at_most: 1h}", 1, "`watch`", "at_most"),
    ("breaker: {error_rate: 2}", 1, "`breaker.error_rate`", "between 0 and 0.5"),
    ("breaker:\n  error_rate: 0.01\n  watch_rate: 0.005", 3, "`breaker.watch_rate`", "the error_rate, 0.01, and 0.5"),
    ("breaker:\n  watch_rate: 0.6", 2, "`breaker.watch_rate`", "and 0.5"),
    ("breaker:\n  watch_rate: .nan", 2, "`breaker.watch_rate`", "and 0.5"),
    ("breaker: {watch_rate: often}", 1, "`breaker.watch_rate`", "float"),
    ("breaker:\n  watch_hold: 11m", 2, "`breaker.watch_hold`", "at most 10m"),
    ("breaker:\n  watch_hold: 15", 2, "breaker.watch_hold", "90s, 30m"),
    ("breaker: {open_for: -5m}", 1, "breaker.open_for", "90s, 30m"),
    ("classes: {by: origin}", 1, "`classes.by`", "array"),
    ("classes:\n  by: [origin, two words]", 2, "`classes.by[1]`", "name of a label"),
    ("classes:\n  by: [origin, origin]", 2, "`classes.by[1]`", "given twice"),
    ("classes:\n  products:\n    - [origin]", 3, "`classes.products[0]`", "at least two labels"),
    ("classes:\n  products:\n    - [origin, tier]\n    - [tier, origin]", 4, "`classes.products[1]`", "given twice"),
    ("classes: {error_rate: 0}", 1, "`classes.error_rate`", "between 0 and 0.5"),
    ("lanes: {ai: 1}", 1, "`lanes`", "array"),
    ("lanes:\n  - {name: ai}", 2, "`lanes[0]`", "match"),
    ("lanes:\n  - {name: ai, match: []}", 2, "`lanes[0].match`", "is empty"),
    ("lanes:\n  - {name: ai, match: [ai]}", 2, "`lanes[0].match[0]`", "not a matcher"),
    ("lanes:\n  - {name: ai, match: ['origin=~(']}", 2, "`lanes[0].match[0]`", "RE2"),
    ("lanes:\n  - {name: a, match: [a=b]}\n  - {name: a, match: [a=c]}", 3, "`lanes[1].name`", "given twice"),
    ("lanes:\n  - {name: a, match: [a=b], false_discovery: 1}", 2, "`lanes[0].false_discovery`", "0 and 0.5"),
    ("guardrails: {a: b}", 1, "`guardrails`", "array"),
    ("guardrails:\n- {value: m}", 2, "`guardrails[0]`", "name"),
    ("guardrails:\n- {name: a, value: m}\n- {name: a, value: n}", 3, "`guardrails[1].name`", "twice"),
    ("guardrails:\n- name: a\n  value: m\n  harm: sideways", 4, "`guardrails[0].harm`", "up, down and both"),
    ("guardrails:\n- {name: a}", 2, "`guardrails[0]`", "either `value`"),
    ("guardrails:\n- {name: a, value: m, errors: e, over: o}", 2, "`guardrails[0]`", "either `value`"),
    ("guardrails:\n- {name: a, errors: e}", 2, "`guardrails[0]`", "both `errors` and `over`"),
    ("guardrails:\n- {name: a, value: m, least_effect: much}", 2, "least_effect", "10%"),
    ("guardrails:\n- {name: a, value: m, least_effect: -1}", 2, "least_effect", "0.005"),
    ("guardrails:\n- {name: a, value: m, least_effect: .nan}", 2, "least_effect", "0.005"),
    ("guardrails:\n- {name: a, value: m, least_effect: nan%}", 2, "least_effect", "0.005"),
    ("guardrails:\n- {name: a, value: m, least_effect: true}", 2, "least_effect", "0.005"),
    ("detectors:\n- {name: forest}", 2, "`detectors[0]`", "river"),
    (
        "detectors:\n- name: forest\n  river: river.anomaly.Wood",
        3,
        "`detectors[0].river`",
        "river.anomaly.HalfSpaceTrees",
    ),
    ("detectors:\n- {name: mean, river: river.stats.Mean}", 2, "`detectors[0].river`", "AnomalyDetector"),
    ("detectors:\n- {name: a, river: river.drift.ADWIN, parameters: {x: 1}}", 2, "`detectors[0].river`", "ADWIN"),
    ("mode: observe\nmode: enforce", 2, "`mode`", "twice"),
    ("services:\n  a: {}\n  a: {}", 3, "`services.a`", "twice"),
    ("services: &all {a: {}}\nenvironments: *all", 2, "*all", "write the value out"),
    ("services:\n\tcheckout: {}", 2, "YAML", "\\t"),
    ("mode: [", 1, "YAML", "stream end"),
    ("? [a, b]\n: c", 1, "key", "plain word"),
    ("- version: 1", 1, "mapping", "version: 1"),
    ("just words", 1, "mapping", "version: 1"),
    ("mode: enforce\n---\nmode: observe", 2, "YAML", "document"),
    ("mode: !!python/object:os.system enforce", 1, "YAML", "python"),
    ("<<: {mode: enforce}\nservices: 3", 2, "`services`", "object"),
]


@pytest.mark.parametrize(("text", "line", "names", "valid"), WRONG, ids=[wrong[0] for wrong in WRONG])
def test_what_is_wrong_is_named_by_line_and_with_what_is_valid(text: str, line: int, names: str, valid: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        parse_policy(text, "policy.yaml")
    said = str(caught.value)
    assert said.startswith(f"policy.yaml:{line}:")
    assert names in said
    assert valid in said
    assert "\n" not in said


def test_the_bar_of_the_watch_is_never_stricter_than_what_freezes() -> None:
    given = {
        "breaker: {}": 0.05,
        "breaker: {watch_rate: 0.2}": 0.2,
        "breaker: {error_rate: 0.1}": 0.1,
        "breaker: {error_rate: 0.01, watch_rate: 0.01}": 0.01,
    }
    assert {text: parse_policy(text)[0].breaker.watch_bar for text in given} == given
    assert parse_policy("breaker: {watch_hold: 0s}")[0].breaker.watch_hold == 0
    assert parse_policy("version: 1")[0].breaker.watch_hold == 15_000


def test_a_policy_nested_without_end_is_refused() -> None:
    for text in ("[" * 50_000, "{a: " * 3_000, "- " * 3_000, "services: " + "[" * 2_000 + "]" * 2_000):
        with pytest.raises(InvalidPolicy, match=r"^policy:\d+:\d+: .*(nested|YAML)"):
            parse_policy(text)


def test_an_unknown_key_is_a_warning_with_the_nearest_known_one() -> None:
    policy, warnings = parse_policy(
        "mode: enforce\ngaurdrails: []\nservices:\n  a: {teir: 2}\nwatch: {zzz: 1}", "p.yaml"
    )
    assert policy.mode is Mode.ENFORCE
    assert [re.split(" is not", one)[0] for one in warnings] == [
        "p.yaml:2:1: `gaurdrails`",
        "p.yaml:4:7: `services.a.teir`",
        "p.yaml:5:9: `watch.zzz`",
    ]
    assert "did you mean `guardrails`?" in warnings[0]
    assert "did you mean `tier`?" in warnings[1]
    assert "known are at_least, samples, at_most" in warnings[2]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"mode: \xe9")
    for path in (tmp_path / "none.yaml", latin, tmp_path):
        with pytest.raises(InvalidPolicy, match=re.escape(f"{path}: cannot be read")):
            load_policy(path)


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_refused_in_one_line(text: str) -> None:
    try:
        parse_policy(text)
    except InvalidPolicy as error:
        assert re.match(r"policy:\d+:\d+: ", str(error))
        assert "\n" not in str(error)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["observe", "1h", "10%", "up"]),
    st.text(max_size=5),
)
FIELDS = st.sampled_from(
    sorted(
        {
            name
            for struct in (Policy, Guardrail, Watch, Breaker, Environment, Service)
            for name in struct.__struct_fields__
        }
    )
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(FIELDS, TREES, max_size=4))
def test_any_values_in_the_known_fields_are_a_policy_or_refused_in_one_line(tree: dict[str, object]) -> None:
    try:
        policy, _ = parse_policy(yaml.safe_dump(tree, allow_unicode=True))
    except InvalidPolicy as error:
        assert re.match(r"policy:\d+:\d+: ", str(error))
        assert "\n" not in str(error)
    else:
        assert policy.watch.length(1_000) > 0


# -- what the gate goes by --------------------------------------------------------------------------------------------

GATE = """\
mode: enforce
tiers:
  1: {owners: [ada], when_unreachable: deny, watch: {at_least: 2h, at_most: 1d}}
services: {checkout: {tier: 1}, search: {tier: 3, owners: [bo]}}
people:
  ada: {role: lead, aliases: [ada@example.org]}
  bo: {role: senior}
guardrails: [{name: errors, value: e}, {name: p99, value: p}]
lanes:
  - {name: ai, match: ['origin=~"ai|mixed"'], watch: {at_least: 4h}, error_rate: 0.01, watch_rate: 0.1,
     guardrails: [errors], pace: {at_once: 2, per_hour: 6, cool_off: 1h}}
approvals: {rules: [{match: [tier=1], role: senior}], expires: 8h, lines_per_second: 5, per_day: 20, unknown: mixed}
canaries: [{match: [tier=1], steps: [10%, 0.5, 1], pause: 5m}]
blast_radius: [{share: 25%, regions: 1, concurrent: 2, dependants: 5, tiers: 2}]
destructive: {role: lead, kinds: [cache], disposable: [job]}
questions: {per_person: 4, deadline: 2h}
fallbacks: {when_unreachable: last_known, last_known_for: 20m}
"""


def test_what_the_gate_goes_by_is_read() -> None:
    policy, warnings = parse_policy(GATE)
    assert warnings == []
    assert (policy.owners_of("checkout"), policy.owners_of("search"), policy.owners_of("cart")) == (
        ("ada",),
        ("bo",),
        (),
    )
    assert policy.when_unreachable("checkout") is Unreachable.DENY
    assert policy.when_unreachable("search") is Unreachable.LAST_KNOWN
    assert Policy().when_unreachable("checkout") is None
    assert policy.lanes[0].pace == Pace(at_once=2, per_hour=6, cool_off=3_600_000)
    assert (policy.canaries[0].steps, policy.canaries[0].pause) == ((0.1, 0.5, 1.0), 300_000)
    assert policy.blast_radius[0].share == 0.25
    assert (policy.approvals.expires, policy.fallbacks.last_known_for) == (8 * 3_600_000, 20 * 60_000)


def test_a_lane_and_a_tier_have_their_own_watch_rates_and_guardrails() -> None:
    policy, _ = parse_policy(GATE)
    ai = factories.change(provenance=Provenance(origin=Origin.AI))
    human = factories.change(provenance=Provenance(origin=Origin.HUMAN))
    elsewhere = factories.change(service="search", provenance=Provenance(origin=Origin.HUMAN))
    assert policy.for_change(ai).watch.at_least == 4 * 3_600_000, "the lane's before the tier's"
    assert policy.for_change(human).watch.at_least == 2 * 3_600_000
    assert policy.for_change(elsewhere) is policy
    assert policy.for_change(ai).breaker == Breaker(error_rate=0.01, watch_rate=0.1)
    assert [one.name for one in policy.for_change(ai).guardrails] == ["errors"]
    assert policy.for_change(human).breaker == policy.breaker


GATE_WRONG = [
    ("tiers: {one: {}}", "1:9", "`tiers.one`", "numbers"),
    ("tiers:\n  1: {when_unreachable: maybe}", "2:7", "`tiers.1.when_unreachable`", "allow, deny and last_known"),
    ("services: {a: {owners: [ada]}}", "1:25", "`services.a.owners[0]`", "nobody of `people`"),
    ("people: {ada: {role: boss}}", "1:16", "`people.ada.role`", "lead, member, senior"),
    ("people: {ada: {}, bo: {aliases: [Ada]}}", "1:19", "`people.bo`", "as ada does"),
    ("approvals: {unknown: human}", "1:13", "`approvals.unknown`", "no sign of a person"),
    ("approvals: {rules: [{role: boss}]}", "1:22", "`approvals.rules[0].role`", "known are"),
    ("approvals: {rules: [{match: [x]}]}", "1:30", "`approvals.rules[0].match[0]`", "not a matcher"),
    ("approvals: {rules: [{count: 0}]}", "1:22", "`approvals.rules[0].count`", "at least 1"),
    ("approvals: {lines_per_second: 0}", "1:13", "`approvals.lines_per_second`", "above 0"),
    ("approvals: {lines_per_second: .nan}", "1:13", "`approvals.lines_per_second`", "above 0"),
    ("approvals: {expires: 1}", "1:13", "`approvals.expires`", "90s, 30m"),
    ("canaries: [{steps: [50%, 10%, 1]}]", "1:13", "`canaries[0].steps`", "grow and end at 1"),
    ("canaries: [{steps: [10%]}]", "1:13", "`canaries[0].steps`", "grow and end at 1"),
    ("canaries: [{steps: [0%, 1]}]", "1:21", "`canaries[0].steps[0]`", "0.1 or 10%"),
    ("blast_radius: [{share: 0}]", "1:17", "`blast_radius[0].share`", "0.1 or 10%"),
    ("blast_radius: [{concurrent: 0}]", "1:17", "`blast_radius[0].concurrent`", "at least 1"),
    ("lanes: [{name: a, match: [a=b], pace: {at_once: 0}}]", "1:40", "`lanes[0].pace.at_once`", "at least 1"),
    ("lanes: [{name: a, match: [a=b], guardrails: [x]}]", "1:46", "`lanes[0].guardrails[0]`", "no guardrail"),
    ("lanes: [{name: a, match: [a=b], watch: {samples: 0}}]", "1:41", "`lanes[0].watch.samples`", "at least 1"),
    ("destructive: {role: boss}", "1:15", "`destructive.role`", "known are"),
    ("questions: {deadline: 0s}", "1:13", "`questions.deadline`", "such as 4h"),
    ("version: 1\n---\nversion: 1", "2:1", "YAML", "a file has one"),
    ("questions: {per_person: 0}", "1:13", "`questions.per_person`", "at least 1"),
    ("fallbacks: {when_unreachable: yes}", "1:13", "`fallbacks.when_unreachable`", "allow, deny and last_known"),
    ("services:\n  checkout:\n\ttier: 1", "3:1", "YAML", "indents with spaces"),
    ("a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]", "2:8", "aliases", "write the value out"),
    ("services: {a: {}, a: {}}", "1:19", "`services.a`", "given twice"),
]


@pytest.mark.parametrize(("text", "at", "names", "valid"), GATE_WRONG, ids=[wrong[0] for wrong in GATE_WRONG])
def test_what_is_wrong_in_the_gates_part_is_named_by_line_and_column(
    text: str, at: str, names: str, valid: str
) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        parse_policy(text, "policy.yaml")
    said = str(caught.value)
    assert said.startswith(f"policy.yaml:{at}: ")
    assert names in said
    assert valid in said
    assert "\n" not in said


def test_a_policy_of_many_megabytes_is_refused_at_once() -> None:
    with pytest.raises(InvalidPolicy, match="at most"):
        parse_policy("# " + "x" * 5_000_000)
