"""What a commit's own text says, and what it cannot say."""

from __future__ import annotations

import pytest

from deploy.change import Origin
from deploy.provenance.commit import Commit, commit_votes, operator_of
from deploy.provenance.signs import signs
from deploy.provenance.vote import Vote
from deploy.provenance.weigh import Attribution, weigh

ADA = "Ada <ada@example.org>"
BOT = "copilot-swe-agent[bot] <198982749+Copilot@users.noreply.github.com>"


def commit(trailer: str = "", author: str = ADA, **fields: str) -> Commit:
    return Commit(revision="a" * 40, author=author, **({"message": f"Title\n\nBody.\n\n{trailer}"} | fields))


def judged(trailer: str = "", author: str = ADA, **fields: str) -> Attribution:
    return weigh(commit_votes(commit(trailer, author, **fields)))


def only(found: Attribution) -> Vote:
    (vote,) = found.votes
    return vote


@pytest.mark.parametrize(
    ("trailer", "origin", "tool", "model"),
    [
        ("Assisted-by: Claude:claude-3-opus coccinelle sparse", "mixed", "claude-code", "claude-3-opus"),
        ("Assisted-by: generic LLM chatbot", "mixed", "generic llm chatbot", ""),
        ("Assisted-by: ChatGPTv5", "mixed", "chatgptv5", ""),
        ("Assisted-by: NEWAGENT:their-model-7", "mixed", "newagent", "their-model-7"),
        ("Generated-by: Copilot", "ai", "copilot-agent", ""),
        ("Co-Authored-By: Claude Opus 4.5 <noreply@anthropic.com>", "mixed", "claude-code", "claude-opus-4.5"),
        ("co-authored-by: Cursor <CursorAgent@Cursor.com>", "mixed", "cursor", ""),
        ("Co-authored-by: aider (some-model) <noreply@aider.chat>", "mixed", "aider", "aider-(some-model)"),
        ("Co-authored-by: x <noreply@openai.com>", "mixed", "codex", ""),
        ("Co-authored-by: renamed <158243242+renamed[bot]@users.noreply.github.com>", "mixed", "devin", ""),
        ("Co-authored-by: x <factory-droid[bot]@users.noreply.github.com>", "mixed", "droid", ""),
        ("Claude-Session: https://claude.ai/code/session_1", "mixed", "claude-code", ""),
        ("Agent-Logs-Url: https://github.com/O/R/sessions/1", "mixed", "copilot-agent", ""),
        ("Replit-Commit-Author: Agent", "ai", "replit-agent", ""),
        ("🤖 Generated with [Claude Code](https://claude.com/claude-code)", "mixed", "claude-code", ""),
    ],
)
def test_each_sign_of_the_field_is_read(trailer: str, origin: str, tool: str, model: str) -> None:
    found = judged(trailer)
    assert (found.origin, found.tools, found.models) == (origin, (tool,), (model,) if model else ())
    assert 0 < found.confidence < 1
    assert only(found).text == trailer, "the sign is quoted as it stands there"


@pytest.mark.parametrize(
    "trailer",
    [
        "",
        "Fixes: #3",
        "Assisted-by: Grace Hopper <grace@example.org>",
        "Co-authored-by: Claude Monet <claude@monet.example>",
        "Co-authored-by: Jules Verne <12345+jules-verne@users.noreply.github.com>",
        "Co-authored-by: Claude <98765+claudette@users.noreply.github.com>",
        "Signed-off-by: Ada <ada@example.org>",
        "Replit-Commit-Author: Ada",
        "We talked about Generated with Claude Code yesterday",
    ],
)
def test_absence_of_a_sign_is_unknown_and_never_human(trailer: str) -> None:
    found = judged(trailer)
    assert (found.origin, found.confidence, found.tools) == (Origin.UNKNOWN, 0.0, ())
    assert found.odds["human"] == 0


def test_a_bot_as_author_is_an_ai_alone_and_the_co_author_its_operator() -> None:
    one = commit("Co-authored-by: Ada <ada@example.org>", author=BOT)
    found = weigh(commit_votes(one))
    assert (found.origin, found.autonomy, found.tools) == (Origin.AI, "autonomous", ("copilot-agent",))
    assert operator_of(one) == "ada@example.org"
    assert operator_of(commit("Co-authored-by: Bob <b@example.org>")) == "", (
        "a person who is the author operates nobody"
    )


def test_a_number_of_another_account_does_not_hide_a_bots_login() -> None:
    assert judged(author="x <999999+Copilot@users.noreply.github.com>").tools == ("copilot-agent",)
    assert judged(author="x <198982749+renamed@users.noreply.github.com>").tools == ("copilot-agent",)
    assert judged(author="x <999999+ada@users.noreply.github.com>").tools == ()


def test_automation_by_fixed_rules_is_shown_and_votes_for_nothing() -> None:
    found = judged(author="dependabot[bot] <49699333+dependabot[bot]@users.noreply.github.com>")
    assert (found.origin, found.tools) == (Origin.UNKNOWN, ("dependabot",))
    assert "neither a person nor an AI" in only(found).note


@pytest.mark.parametrize("key", ["Approved-by", "Reviewed-by", "Acked-by"])
def test_an_approver_named_in_the_text_only_is_no_approver(key: str) -> None:
    found = judged(f"{key}: Carol <carol@example.org>")
    assert found.approvers == ()
    vote = only(found)
    assert vote.weight == 0
    assert "approvals count from the review" in vote.note


def test_a_look_alike_cannot_hide_a_sign_and_cannot_lend_a_name() -> None:
    hidden = judged("Аssisted‑by: some-agent")  # Cyrillic А, a hyphen that is none
    assert hidden.origin is Origin.MIXED
    assert "look-alike letters, reads 'Assisted-by: some-agent'" in only(hidden).note
    disguised = judged("Co-authored-by: x <сursoragent@cursor.com>")  # Cyrillic с
    assert disguised.tools == ("cursor",)
    forged = only(judged("Approved-by: саrol <carol@example.org>"))
    assert forged.weight == 0
    assert "only looks like 'carol" in forged.note


def test_a_sign_inside_a_quotation_does_not_count() -> None:
    for text in (
        "Title\n\nIt said:\n\n> Assisted-by: some-agent",
        "Title\n\n```\nGenerated with [Claude Code](https://claude.com/claude-code)\n```\n\nBye.",
        "Title\n\n> 🤖 Generated with [Claude Code](https://claude.com/claude-code)",
    ):
        assert judged(message=text).votes == ()


def test_the_prefix_of_a_tool_counts_in_the_title_only() -> None:
    assert judged(message="aider: Fix it").tools == ("aider",)
    assert judged(message="Fix it\n\naider: was asked").tools == ()


def test_a_tool_behind_a_persons_name_is_a_sign_and_a_nickname_or_first_name_is_none() -> None:
    found = judged(author="Ada Lovelace (aider) <ada@example.org>")
    assert (found.origin, found.tools, found.confidence) == (Origin.MIXED, ("aider",), 0.6)
    assert judged(committer="Ada (aider) <ada@example.org>").tools == ("aider",)
    for name in ("Ada (her)", "Ada (Claude)", "(aider) Ada", "Ada (aider"):
        assert judged(author=f"{name} <ada@example.org>").votes == ()


def test_the_same_sign_twice_counts_once() -> None:
    once = judged("Assisted-by: some-agent")
    assert judged("Assisted-by: some-agent\nAssisted-by: some-agent") == once
    assert judged("Assisted-by: some-agent\nAssisted-by: other-agent").confidence == once.confidence


def test_the_table_of_signs_names_everything_once() -> None:
    tools = signs().tools.values()
    for field in ("names", "emails", "github", "logins", "branches"):
        values = [value for tool in tools for value in getattr(tool, field)]
        assert len(values) == len(set(values)), field
        assert all(value == value.lower() for value in values if isinstance(value, str)), field
    assert {tool.autonomy for tool in tools} <= {"", "suggest", "edit", "agent", "autonomous"}
    for sign in signs().trailers.values():
        assert sign.identity or sign.claim or sign.weight in signs().weights, sign.key
        assert not sign.tool or sign.tool in signs().tools
    assert all(0 < weight < 1 for weight in signs().weights.values())
