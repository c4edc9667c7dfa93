"""Plans: what each format destroys, what is not understood, and that a large or broken one costs little and holds."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.change import Action
from deploy.destructive import losses, sort_of
from deploy.plans import Plan, plan_from_object, plan_to_object, read_plan
from deploy.plans.plan import MOST_LISTED

PLANS = Path(__file__).resolve().parents[2] / "examples" / "plans"
NONE: frozenset[str] = frozenset()
BEANSTALK = "aws_elastic_beanstalk_environment"


def told(data: bytes | str | dict[str, Any]) -> tuple[list[str], int]:
    """What a plan destroys, as the gate lists it, and how much of it is not understood."""
    if isinstance(data, dict):
        data = json.dumps(data)
    plan = read_plan(data.encode() if isinstance(data, str) else data)
    found = losses((), plan, NONE, NONE)
    return [str(one) for one in found.guarded], len(plan.unknown)


def terraform(*actions: str, kind: str = "aws_db_instance", **more: Any) -> dict[str, Any]:
    resource = {"address": f"{kind}.x", "mode": "managed", "type": kind, "change": {"actions": list(actions)}}
    return {"format_version": "1.2", "resource_changes": [resource | more]}


@pytest.mark.parametrize(
    ("file", "destroyed", "unknown"),
    [
        ("small-fix-recreates-environment.json", [f"recreate environment {BEANSTALK}.cost_explorer_prod"], 0),
        ("create-before-delete.json", ["replace data store aws_db_instance.orders"], 0),
        ("update-in-place.json", [], 0),
        ("unknown-action.json", [], 1),
        ("incomplete.json", [], 1),
        ("namespace-deleted.diff", ["delete namespace shop"], 0),
        ("image-changed.diff", [], 0),
        ("claim-recreated.diff", ["recreate data store shop/orders"], 0),
        ("pruned.txt", ["delete data store orders-db"], 0),
        ("database-replaced.json", ["replace data store OrdersDb"], 0),
        ("perhaps-replaced.json", ["replace, perhaps data store OrdersTable"], 0),
        ("dynamic.json", [], 1),
        ("retained.json", [], 0),
    ],
)  # fmt: skip
def test_the_example_plans_are_read(file: str, destroyed: list[str], unknown: int) -> None:
    assert told((PLANS / file).read_bytes()) == (destroyed, unknown)


@pytest.mark.parametrize(
    ("actions", "destroys", "unknown"),
    [
        (("no-op",), 0, 0),
        (("create",), 0, 0),
        (("read",), 0, 0),
        (("update",), 0, 0),
        (("forget",), 0, 0),
        (("create", "forget"), 0, 0),
        (("delete",), 1, 0),
        (("delete", "create"), 1, 0),
        (("create", "delete"), 1, 0),
        (("delete", "forget"), 0, 1),
        (("Delete",), 0, 1),
        ((), 0, 1),
    ],
)
def test_terraforms_actions(actions: tuple[str, ...], destroys: int, unknown: int) -> None:
    destroyed, missed = told(terraform(*actions))
    assert (len(destroyed), missed) == (destroys, unknown)


def test_what_of_a_terraform_plan_says_that_it_is_not_whole_is_unknown() -> None:
    whole = terraform("update")
    assert told(whole) == ([], 0)
    for more in (
        {"errored": True},
        {"complete": False},
        {"deferred_changes": [{}]},
        {"action_invocations": [{"address": "action.aws_lambda_invoke.x"}]},
        {"format_version": "2.0"},
        {"resource_changes": None},
    ):
        assert told(whole | more)[1] >= 1, more
    assert told(terraform("delete", mode="data"))[0] == []


def test_what_an_earlier_replacement_left_over_is_lost_as_anything_else() -> None:
    assert told(terraform("delete", deposed="8c1f1f3a"))[0] == [
        "delete data store aws_db_instance.x (deposed 8c1f1f3a)"
    ]


def test_the_lines_of_terraform_plan_are_read() -> None:
    lines = [
        {"@level": "info", "@message": "Terraform 1.14.3", "type": "version"},
        {"@level": "info", "@message": "x", "type": "planned_change",
         "change": {"resource": {"addr": "aws_db_instance.x", "resource_type": "aws_db_cluster"}, "action": "replace"}},
        {"@level": "info", "@message": "x", "type": "planned_change",
         "change": {"resource": {"addr": "aws_vpc.x", "resource_type": "aws_vpc"}, "action": "vanish"}},
        {"@level": "info", "@message": "Plan: 1 to add", "type": "change_summary",
         "changes": {"add": 1, "change": 0, "remove": 1, "operation": "plan"}},
    ]  # fmt: skip
    text = [json.dumps(line) for line in lines]
    assert told("\n".join(text)) == (["recreate data store aws_db_instance.x"], 1)
    for cut, unknown in ((text[:3], 2), (text[:1], 1), ([text[0], text[3]], 1)):
        assert told("\n".join(cut))[1] == unknown, "lines are missing"


@pytest.mark.parametrize(
    ("text", "destroyed", "unknown"),
    [
        ('namespace "prod" deleted (server dry run)', ["delete namespace prod"], 0),
        ("persistentvolumeclaim/orders pruned (dry run)", ["delete data store orders"], 0),
        ("deployment.apps/web configured\npod/web-1 deleted\nsecret/db created", [], 0),
        ("deployment.apps/web configured\nnamespace/prod obliterated", [], 1),
        ("===== /Namespace /prod ======\n1,2d0\n< apiVersion: v1\n< kind: Namespace\n", ["delete namespace prod"], 0),
        ("===== apps/Deployment shop/web ======\n3c3\n< image: a\n---\n> image: b\n", [], 0),
    ],
)
def test_what_kubectl_and_argo_print_is_read(text: str, destroyed: list[str], unknown: int) -> None:
    assert told(text) == (destroyed, unknown)


def test_a_line_inside_a_hunk_that_looks_like_a_header_is_content() -> None:
    diff = (
        "diff -u -N /tmp/LIVE-1/v1.Namespace..prod /tmp/MERGED-1/v1.Namespace..prod\n"
        "--- /tmp/LIVE-1/v1.Namespace..prod\n+++ /tmp/MERGED-1/v1.Namespace..prod\n"
        "@@ -1,2 +0,0 @@\n-kind: Namespace\n-diff -u -N /tmp/LIVE-1/v1.Pod.a.b /tmp/MERGED-1/v1.Pod.a.b\n"
    )
    assert told(diff) == (["delete namespace prod"], 0)
    assert told(diff.replace("-1,2 ", "-1,9 ") + "diff -u -N /tmp/L/v1.Pod.a.b /tmp/M/v1.Pod.a.b\n")[1] == 1


@pytest.mark.parametrize("file", ["namespace-deleted.diff", "claim-recreated.diff", "image-changed.diff"])
def test_a_diff_that_is_cut_off_after_any_line_is_not_whole_and_is_held(file: str) -> None:
    lines = (PLANS / file).read_text().splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if line.startswith("diff ")]
    for end in (number for number in range(1, len(lines)) if number not in starts):
        destroyed, unknown = told("".join(lines[:end]))
        assert destroyed or unknown, f"cut after line {end}"
    assert told("===== /Namespace /prod ======\n")[1] == 1


def test_an_application_of_argo_cd_says_what_a_sync_would_prune() -> None:
    resources = [{"kind": "Namespace", "name": "shop", "requiresPruning": True}, {"kind": "Service", "name": "web"}]
    application = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "status": {"resources": resources}}
    assert told(application) == (["delete namespace shop"], 0)
    assert told({"kind": "Application", "spec": {}})[1] == 1


def test_a_page_of_a_change_set_or_one_that_is_not_ready_is_not_all_of_it() -> None:
    whole = {"ChangeSetName": "c", "Status": "CREATE_COMPLETE", "Changes": []}
    assert told(whole) == ([], 0)
    nested = {"Type": "Resource", "ResourceChange": {"Action": "Modify", "ResourceType": "AWS::CloudFormation::Stack"}}
    for more in (
        {"NextToken": "x"},
        {"Status": "FAILED"},
        {"Changes": None},
        {"Changes": [nested]},
        {"Changes": [{"Type": "Hook"}]},
    ):
        assert told(whole | more)[1] >= 1, more


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"hello", b"{" * 100_000, b'{"a":' * 100_000]
)
def test_what_is_no_plan_is_unknown_and_never_empty(data: bytes) -> None:
    assert told(data)[1] >= 1


@given(st.binary(max_size=300))
def test_any_bytes_are_a_plan_or_unknown(data: bytes) -> None:
    plan = read_plan(data)
    assert plan.unknown or plan.resources or plan.format == "kubernetes"
    assert plan_from_object(plan_to_object(plan)) == plan


@given(st.data())
def test_a_plan_cut_anywhere_is_never_one_that_destroys_nothing(data: st.DataObject) -> None:
    whole = json.dumps(terraform("delete", "create")).encode()
    cut = data.draw(st.integers(1, len(whole) - 1))
    assert told(whole[:cut])[1] >= 1


def large() -> Iterator[bytes]:
    """A plan of 100 MB: forty thousand resources with long values, one of them a deleted database."""
    value = "x" * 2_400
    yield b'{"format_version":"1.2","terraform_version":"1.14.3","resource_changes":['
    for number in range(40_000):
        kind = "aws_db_instance" if number == 31_415 else "aws_ecs_service"
        actions = ["delete", "create"] if number == 31_415 else ["update"]
        change = {"actions": actions, "before": {"note": value}, "after": {"note": value[:10]}}
        one = {"address": f"{kind}.n{number}", "mode": "managed", "type": kind, "change": change}
        yield (b"," if number else b"") + json.dumps(one).encode()
    yield b'],"complete":true}'


def test_a_plan_of_a_hundred_megabytes_is_read_in_bounded_memory() -> None:
    data = b"".join(large())
    assert len(data) > 100_000_000
    tracemalloc.start()
    plan = read_plan(memoryview(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [one.name for one in plan.destroys] == ["aws_db_instance.n31415"]
    assert plan.resources == 40_000
    assert peak < 40_000_000, f"{peak:,} bytes beside the plan's own"


def test_more_losses_than_anybody_will_read_are_counted() -> None:
    resources = terraform("delete")["resource_changes"] * (MOST_LISTED + 5)
    plan = read_plan(json.dumps({"format_version": "1.2", "resource_changes": resources}).encode())
    assert (len(plan.destroys), plan.more) == (MOST_LISTED, 5)
    assert losses((), plan, NONE, NONE).unknown == ("5 more of the plan are not listed",)


@pytest.mark.parametrize(
    ("kind", "sort"),
    [
        ("environment", "environment"),
        ("azurerm_resource_group", "environment"),
        ("google_container_cluster", "environment"),
        ("aws_db_instance", "data store"),
        ("AWS::DynamoDB::Table", "data store"),
        ("PersistentVolumeClaim", "data store"),
        ("google_sql_database_instance", "data store"),
        ("aws_security_group", "network"),
        ("aws_vpc", "network"),
        ("NetworkPolicy", "network"),
        ("aws_iam_role", "identity"),
        ("ServiceAccount", "identity"),
        ("aws_kms_key", "identity"),
        ("kubernetes_namespace", "namespace"),
        ("CustomResourceDefinition", "namespace"),
        ("aws_ecs_task_definition", ""),
        ("null_resource", ""),
        ("Pod", ""),
        ("aws_launch_template", ""),
        ("aws_lambda_function", "other"),
        ("random_password", ""),
        ("random_production_database", "data store"),
        ("dashboard_database", "data store"),
        ("aws_autoscaling_group", "other"),
        ("еnvironment", "environment"),
    ],
)
def test_kinds_are_sorted(kind: str, sort: str) -> None:
    assert sort_of(kind) == sort


def test_a_kind_that_nobody_knows_is_guarded_against_deletion_and_told_where_it_is_made_again() -> None:
    plan = Plan(
        format="terraform",
        digest="",
        destroys=(Action(verb="delete", kind="x_thing", name="a"), Action(verb="replace", kind="x_thing", name="b")),
    )
    found = losses((), plan, NONE, NONE)
    assert ([one.name for one in found.guarded], [one.name for one in found.others]) == (["a"], ["b"])
    assert [one.name for one in losses((), plan, frozenset({"x_thing"}), NONE).guarded] == ["a", "b"]
    assert losses((), plan, NONE, frozenset({"x_thing"})).guarded == ()


@pytest.mark.parametrize(
    "verb", ["delete", "DELETE", "Destroy", "delete-then-create", "recreate", "ｄｅｌｅｔｅ", "force replace"]
)
def test_declared_verbs_that_destroy(verb: str) -> None:
    assert losses([Action(verb=verb, kind="environment", name="prod")], None, NONE, NONE).guarded


@pytest.mark.parametrize("kind", ["", " ", "еnvironment", "データ", "name\u200bspace", "dbs"])
def test_of_a_kind_that_nobody_can_read_even_what_is_made_again_is_a_loss(kind: str) -> None:
    assert losses([Action(verb="recreate", kind=kind, name="prod")], None, NONE, NONE).guarded


@pytest.mark.parametrize("verb", ["", "yeet", "dеlete", "tidy up", "🙂", "none of your business"])
def test_declared_verbs_that_nobody_knows_are_no_word_of_peace(verb: str) -> None:
    assert losses([Action(verb=verb, kind="environment", name="prod")], None, NONE, NONE).unknown
