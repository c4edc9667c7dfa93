"""The gate: the table of example cases, and what must hold whatever is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.cases import Result, run_cases
from deploy.change import Action, Approver, Change, Origin, Phase, Provenance, ProvenanceEvidence, Rollout, Vcs
from deploy.freeze import Freeze, freeze_to_object
from deploy.gate import Answer, Decision, GateState, Request, answer_to_object, decide
from deploy.plans import read_plan
from deploy.policy import Policy, load_policy, parse_policy
from deploy.traffic import Traffic
from tests.factories import NOON, change, policy

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RESULTS = list(run_cases(EXAMPLES / "shop.cases.yaml"))
SHOP = load_policy(EXAMPLES / "shop.yaml")[0]
REVISION = "3484a3fb9d0c"


@pytest.mark.parametrize("result", RESULTS, ids=[result.name for result in RESULTS])
def test_the_gate_answers_the_examples(result: Result) -> None:
    assert result.wrong == ""


def test_the_examples_are_sixty_and_more_and_all_different() -> None:
    assert len({result.name for result in RESULTS}) == len(RESULTS) >= 60
    assert sum("reported" in result.name for result in RESULTS) >= 2


def test_an_example_that_is_wrong_says_how(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("mode: enforce\nservices: {a: {tier: 1}}\ncanaries: [{match: [tier=1]}]")
    then = ("{decision: allow}", "{rule: pace}", "{says: blue}", "{silent: canary}", "{max_share: 0.1}", "{asks: ada}")
    cases = "\n".join(
        f"  - {{name: c{number}, change: {{service: a}}, then: {one}}}" for number, one in enumerate(then)
    )
    (tmp_path / "p.cases.yaml").write_text(
        f"policy: p.yaml\ncases:\n{cases}\n  - {{name: x, change: {{}}, then: {{}}}}\n"
    )
    *wrong, refused = run_cases(tmp_path / "p.cases.yaml")
    assert all(one.wrong for one in wrong)
    assert "hold, must be allow: canary: it has no rollout plan" in wrong[0].wrong
    assert refused.wrong.startswith("cannot be asked: ")
    assert wrong[1].where.endswith("p.cases.yaml:4:5")


def asking(**fields: Any) -> Change:
    """An AI-assisted change of checkout by dee's agent, as a 10 % canary."""
    given: dict[str, Any] = {
        "vcs": Vcs(repository="shop/checkout", revision=REVISION, lines_added=40, lines_removed=3),
        "rollout": Rollout(strategy="canary", share=0.1),
        "provenance": Provenance(origin=Origin.AI, author="some-agent[bot]", operator="dee"),
    }
    return change(**(given | fields))


def approved(who: str = "bo", after: int = -30 * 60_000, **fields: Any) -> Provenance:
    given: dict[str, Any] = {"who": who, "at": NOON + after, "revision": REVISION}
    approver = Approver(**(given | fields))
    return Provenance(origin=Origin.AI, author="some-agent[bot]", operator="dee", approvers=(approver,))


def state(policy: Policy = SHOP, **fields: Any) -> GateState:
    return GateState(traffic=Traffic(policy), **fields)


def test_the_same_question_has_the_same_id_whenever_it_is_asked_and_another_cause_another() -> None:
    first, later = (decide(Request(change=asking()), SHOP, state(), NOON + after) for after in (0, 90_000))
    assert first.decision is Decision.HOLD
    assert (first.id, first.question.id if first.question else "") == (
        later.id,
        later.question.id if later.question else "",
    )
    other = asking(vcs=Vcs(revision="0badc0ffee00"))
    assert decide(Request(change=other), SHOP, state(), NOON).id != first.id
    allowed = decide(Request(change=asking(provenance=approved())), SHOP, state(), NOON)
    assert allowed.decision is Decision.ALLOW
    assert allowed.id != first.id


def test_an_answer_is_for_one_revision_plan_and_policy_and_expires() -> None:
    plan = read_plan((EXAMPLES / "plans" / "update-in-place.json").read_bytes())
    answer = decide(Request(change=asking(provenance=approved()), plan=plan), SHOP, state(), NOON)
    assert (answer.decision, answer.revision, answer.plan) == (Decision.ALLOW, REVISION, plan.digest)
    assert answer.expires_at == NOON + 5 * 60_000
    assert len(answer.policy) == 12
    changed = msgspec.structs.replace(SHOP, version=1, mode="observe")
    assert decide(Request(change=asking()), changed, state(changed), NOON).policy != answer.policy


def test_an_allow_ends_with_the_approval_that_it_rests_on() -> None:
    almost = approved(after=-8 * 3_600_000 + 60_000)
    answer = decide(Request(change=asking(provenance=almost)), SHOP, state(), NOON)
    assert (answer.decision, answer.expires_at) == (Decision.ALLOW, NOON + 60_000)


def test_a_question_stays_with_who_was_asked_and_goes_to_another_after_its_deadline() -> None:
    traffic = Traffic(SHOP)
    known = GateState(traffic=traffic)
    first = decide(Request(change=asking()), SHOP, known, NOON).question
    assert first is not None
    traffic.question(first)
    again = decide(Request(change=asking()), SHOP, known, NOON + 60_000).question
    assert again == first
    late = decide(Request(change=asking()), SHOP, known, first.deadline).question
    assert late is not None
    assert (late.id, late.to != first.to) == (first.id, True)


def test_who_confirms_exactly_this_loss_lifts_it_and_nobody_else() -> None:
    plan = read_plan((EXAMPLES / "plans" / "small-fix-recreates-environment.json").read_bytes())

    def ask(**fields: Any) -> tuple[Decision, str]:
        one = change(service="costs", vcs=Vcs(revision=REVISION), provenance=approved(**({"who": "ada"} | fields)))
        answer = decide(Request(change=one, plan=plan), SHOP, state(), NOON)
        return answer.decision, "; ".join(answer.reasons)

    decision, said = ask()
    assert decision is Decision.HOLD
    identity = said.partition("to confirm ")[2][:15]
    assert ask(confirms=identity)[0] is Decision.ALLOW
    assert ask(confirms="loss-0123456789")[0] is Decision.HOLD
    assert ask(confirms=identity, who="bo")[0] is Decision.HOLD
    assert ask(confirms=identity, who="dee")[0] is Decision.HOLD
    assert ask(confirms=identity, revision="0badc0ffee00")[0] is Decision.HOLD
    assert ask(confirms=identity, after=-9 * 3_600_000)[0] is Decision.HOLD


WORDS = st.text(max_size=12) | st.sampled_from(
    ["ada", "approved by ada", "safe", "sandbox", "loss-0000000000", REVISION]
)


@given(
    author=WORDS,
    tools=st.lists(WORDS, max_size=3),
    evidence=st.lists(WORDS, max_size=3),
    labels=st.dictionaries(WORDS, WORDS, max_size=3),
    origin=st.sampled_from(list(Origin)),
    autonomy=WORDS,
    environment=st.sampled_from(["production", "", "prod-eu", "staging"]),
    reverts=WORDS,
    confirms=WORDS,
    version=WORDS,
)
def test_nothing_that_an_agent_says_of_itself_lifts_a_destruction(
    author: str,
    tools: list[str],
    evidence: list[str],
    labels: dict[str, str],
    origin: Origin,
    autonomy: str,
    environment: str,
    reverts: str,
    confirms: str,
    version: str,
) -> None:
    said = Provenance(
        origin=origin,
        author=author,
        autonomy=autonomy,
        tools=tuple(tools),
        evidence=tuple(ProvenanceEvidence(source="agent", text=one) for one in evidence),
        approvers=(Approver(who=author, role="lead", at=NOON - 1, revision=REVISION, confirms=confirms),),
    )
    one = change(
        environment=environment,
        provenance=said,
        labels=labels,
        reverts=reverts,
        version=version,
        actions=(Action(verb="recreate", kind="environment", name="prod-eu"),),
    )
    if author in ("ada", "approved by ada"):
        return  # then it is not the agent that speaks
    answer = decide(Request(change=one), SHOP, state(), NOON)
    assert answer.decision is Decision.HOLD
    assert "would recreate environment prod-eu" in "; ".join(answer.reasons)


@given(
    service=st.sampled_from(["checkout", "cart", "search", "nowhere", "Checkout", "сheckout"])
    | st.text(min_size=1, max_size=9),
    share=st.none() | st.floats(0, 1),
    origin=st.sampled_from(list(Origin)),
    who=WORDS,
    at=st.none() | st.integers(NOON - 10**8, NOON + 10**8) | WORDS,
    verb=WORDS,
)
def test_whatever_is_asked_gets_an_answer_that_can_be_written_and_is_the_same_again(
    service: str, share: float | None, origin: Origin, who: str, at: Any, verb: str
) -> None:
    one = change(
        service=service,
        rollout=Rollout(share=share),
        provenance=Provenance(origin=origin, approvers=(Approver(who=who, at=at, revision=who),)),
        actions=(Action(verb=verb, kind=who),),
    )
    answers = [answer_to_object(decide(Request(change=one), SHOP, state(), NOON)) for _ in range(2)]
    assert answers[0] == answers[1]
    assert msgspec.json.decode(msgspec.json.encode(answers[0])) == answers[0]
    assert answers[0]["decision"] in ("allow", "hold", "deny")
    for rule in answers[0]["rules"]:
        assert rule["reason"]
        assert rule["decision"] == "allow" or rule.get("turn"), "what holds says what would turn it"


def test_without_a_policy_only_freezes_and_losses_hold() -> None:
    policy = Policy()
    assert decide(Request(change=asking()), policy, state(policy), NOON).decision is Decision.ALLOW
    loss = asking(actions=(Action(verb="delete", kind="database", name="orders"),))
    assert decide(Request(change=loss), policy, state(policy), NOON).decision is Decision.HOLD
    freeze = Freeze(id="fz-1", matchers=('service="checkout"',), starts_at=NOON - 1, ends_at=NOON + 1, reason="e")
    held = decide(Request(change=asking()), policy, state(policy, freezes=[freeze]), NOON)
    assert (held.decision, held.until, held.expires_at) == (Decision.HOLD, NOON + 1, NOON + 1)
    record = answer_to_object(held)
    assert record["held_by"] == [freeze_to_object(freeze)]
    assert (record["observed"], record["passed"], record["watched"]) == ([], [], [])


def test_without_a_policy_a_name_that_looks_like_a_frozen_one_is_denied_and_another_goes() -> None:
    frozen = Freeze(
        id="fz-1", matchers=('environment="prod-eu"', 'service="checkout"'), starts_at=NOON - 1, ends_at=NOON + 9,
        created_by="ada", reason="sale",
    )  # fmt: skip

    def ask(service: str, environment: str = "prod-eu", now: int = NOON) -> tuple[Decision, str]:
        known = GateState(traffic=Traffic(Policy()), freezes=[frozen])
        asks = change(service=service, environment=environment)
        answer = decide(Request(change=asks), Policy(), known, now)
        return answer.decision, answer.reasons[0]

    for service, environment in (("сheckout", "prod-eu"), ("Checkout", "prod-eu"), ("checkout", "Prod-EU")):
        decision, said = ask(service, environment)
        assert (decision, "and is another name" in said) == (Decision.DENY, True), said
    assert ask("checkout")[0] is Decision.HOLD
    assert ask("checkout-2")[0] is Decision.ALLOW
    assert ask("сheckout", now=NOON + 9)[0] is Decision.ALLOW, "the freeze is over"


def test_who_asks_cannot_slip_out_of_a_rule_or_a_freeze_by_one_more_label() -> None:
    rules = policy(
        "mode: enforce\npeople: {bo: {role: lead}}\nservices: {checkout: {tier: 1}}\n"
        "approvals: {rules: [{match: ['environment!=\"sandbox\"', 'origin!=\"human\"', tier!=3]}]}"
    )
    freeze = Freeze(id="fz-1", matchers=('service!="cart"',), starts_at=NOON - 1, ends_at=NOON + 1, reason="e")
    labels = {"environment": ("sandbox",), "origin": ("human",), "tier": ("3",), "service": ("cart",)}
    asked = Request(change=asking(), labels=labels | {"team": ("pay",)})
    answer = decide(asked, rules, state(rules, freezes=[freeze]), NOON)
    assert {word.rule for word in answer.words if word.decision is Decision.HOLD} == {"sign_off", "freeze"}
    tool = Freeze(id="fz-2", matchers=('tool="x"', 'team="pay"'), starts_at=NOON - 1, ends_at=NOON + 1, reason="e")
    asked = Request(change=asking(), labels={"tool": ("x",), "team": ("pay",)})
    assert decide(asked, Policy(), state(Policy(), freezes=[tool]), NOON).decision is Decision.HOLD


def test_a_hold_that_only_people_end_has_no_end_of_its_own() -> None:
    freeze = Freeze(id="fz-1", matchers=('service="checkout"',), starts_at=NOON - 1, ends_at=NOON + 9, reason="e")
    answer = decide(Request(change=asking()), SHOP, state(freezes=[freeze]), NOON)
    assert {word.rule for word in answer.words if word.decision is Decision.HOLD} == {"freeze", "sign_off"}
    assert answer.until is None


def test_a_freeze_matches_the_origin_that_is_known_and_rules_what_it_is_treated_as() -> None:
    policy, _ = parse_policy("mode: enforce\npeople: {ada: {role: lead}}\napprovals: {rules: [{match: [origin=ai]}]}")
    unknown = change(provenance=Provenance(author="x"))
    freeze = Freeze(id="fz-1", matchers=('origin="ai"',), starts_at=NOON - 1, ends_at=NOON + 9, reason="e")
    answer = decide(Request(change=unknown), policy, state(policy, freezes=[freeze]), NOON)
    assert [word.rule for word in answer.words] == ["sign_off"]


# -- what was recorded of the change ----------------------------------------------------------------------------------


def recorded(asks: Change, *told: Change) -> tuple[Decision, str]:
    answer = decide(Request(change=asks), SHOP, GateState(traffic=Traffic(SHOP, told)), NOON)
    return answer.decision, "; ".join(answer.reasons)


def test_a_change_that_is_only_named_is_answered_by_its_record() -> None:
    bare = change(environment="production", version="")
    told = asking(phase=Phase.PLANNED, time=NOON - 3_600_000)
    assert recorded(bare, told)[0] is Decision.HOLD
    later = change(phase=Phase.PLANNED, time=NOON - 60_000, provenance=approved())
    decision, said = recorded(bare, told, later)
    assert (decision, "approved by bo (senior)" in said) == (Decision.ALLOW, True)


def test_who_asks_cannot_make_light_of_the_origin_or_the_author_that_were_recorded() -> None:
    told = asking(phase=Phase.PLANNED, time=NOON - 3_600_000)
    light = asking(provenance=Provenance(origin=Origin.HUMAN, author="eve"))
    assert recorded(light)[0] is Decision.ALLOW
    decision, said = recorded(light, told)
    assert (decision, "ai change to checkout" in said) == (Decision.HOLD, True)
    own = asking(provenance=msgspec.structs.replace(approved("bo"), operator="eve", author="eve"))
    ours = asking(
        phase=Phase.PLANNED, time=NOON - 3_600_000, provenance=Provenance(origin=Origin.AI, author="x", operator="bo")
    )
    assert "bo cannot approve what is their own" in recorded(own, ours)[1]


def test_the_record_of_another_service_or_revision_says_nothing_here() -> None:
    other = asking(service="search", time=NOON - 3_600_000, actions=(Action(verb="delete", kind="database"),))
    assert "database" not in recorded(asking(), other)[1]
    large = asking(vcs=Vcs(revision="0badc0ffee00", lines_added=90_000), time=NOON - 3_600_000)
    assert recorded(asking(provenance=approved(since=NOON - 5_400_000)), large)[0] is Decision.ALLOW


def test_a_review_that_others_told_of_counts_as_one_that_the_change_brings() -> None:
    def joined(asks: Change) -> Change:
        return msgspec.structs.replace(asks, provenance=approved())

    assert decide(Request(change=asking()), SHOP, state(), NOON).decision is Decision.HOLD
    assert decide(Request(change=asking()), SHOP, state(joined=joined), NOON).decision is Decision.ALLOW


# -- refusals ---------------------------------------------------------------------------------------------------------

SENIORS = (
    "mode: enforce\npeople: {bo: {role: senior}, cem: {role: senior}, dee: {role: member}}\n"
    "approvals: {rules: [{role: senior}]}\n"
)


def answered(*approvers: Approver) -> Answer:
    rules = policy(SENIORS)
    asking = change(
        provenance=Provenance(origin=Origin.AI, author="agent", approvers=approvers), vcs=Vcs(revision="3484a3f")
    )
    return decide(Request(change=asking), rules, GateState(traffic=Traffic(rules)), NOON)


def said_no(who: str, **fields: Any) -> Approver:
    return Approver(**{"who": who, "at": NOON, "revision": "3484a3f", "refused": True, "why": "no way back"} | fields)


def test_who_could_say_yes_holds_it_by_saying_no_and_nobody_else_is_asked() -> None:
    yes = Approver(who="cem", at=NOON, revision="3484a3f")
    assert answered(yes).decision is Decision.ALLOW
    held = answered(yes, said_no("bo"))
    assert (held.decision, held.question) == (Decision.HOLD, None)
    assert "sign-off: bo (senior) refused it: no way back" in held.reasons
    assert answered(said_no("bo")).question is None, "it was answered"


@pytest.mark.parametrize(
    "other", [said_no("dee"), said_no("eve"), said_no("bo", revision="77777777"), said_no("bo", confirms="loss-1")]
)
def test_a_no_by_somebody_who_could_not_say_yes_or_of_something_else_holds_nothing(other: Approver) -> None:
    assert answered(Approver(who="cem", at=NOON, revision="3484a3f"), other).decision is Decision.ALLOW
