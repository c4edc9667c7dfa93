"""What destroys: verbs, and the kinds of things of which a loss is not made good by making them again."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

import msgspec

from deploy.change import Action
from deploy.lookalike import skeleton
from deploy.plans import Plan

_DESTROYING = (
    "delete destroy replace recreate remove drop truncate purge terminate wipe erase prune uninstall deprovision "
    "decommission evict reset reinitialize rebuild"
)
DESTROYING = frozenset(_DESTROYING.split())
_HARMLESS = (
    "create add update modify change apply read get list no noop op none scale restart deploy import forget move "
    "enable tag configure patch annotate label release promote publish set rename"
)
HARMLESS = frozenset(_HARMLESS.split())
#: Words of a kind's name, by what it then is; a word earlier in the table wins.
_KINDS: tuple[tuple[str, str], ...] = (
    ("namespace", "namespace namespaces ns crd crds customresourcedefinition customresourcedefinitions"),
    ("data store", "db dbs database databases datastore datastores rds dynamodb dynamo table tables bucket buckets "
                   "s3 storage blob disk disks "
                   "volume volumes ebs efs fsx filesystem fs snapshot snapshots backup backups sql postgres postgresql "
                   "mysql mariadb mongo mongodb redis valkey elasticache memorystore elasticsearch opensearch bigtable "
                   "bigquery spanner firestore cosmosdb documentdb neptune aurora kafka msk topic queue queues sqs "
                   "kinesis stream streams redshift warehouse dataset schema collection index persistentvolume pv "
                   "persistentvolumeclaim persistentvolumeclaims pvc statefulset statefulsets repository registry ecr "
                   "keyspace cassandra clickhouse etcd consul memcached data"),
    ("environment", "environment environments env beanstalk resourcegroup project subscription organization account "
                    "cluster workspace tenant stack landscape datacenter"),
    ("identity", "iam role roles rolebinding rolebindings clusterrole clusterrolebinding principal identity user users "
                 "serviceaccount serviceaccounts certificate certificates cert acm key keys kms secret secrets "
                 "credential credentials token tokens saml oidc oauth cognito vault password sso membership azuread "
                 "permissionset keyring"),
    ("network", "vpc subnet subnetwork network networks vnet route routes route53 router gateway nat dns zone record "
                "firewall securitygroup lb elb alb nlb loadbalancer listener ingress ingresses peering vpn ip eip "
                "address endpoint cdn cloudfront distribution networkpolicy interface acl nacl service services "
                "virtualnetwork transitgateway hostedzone"),
)  # fmt: skip
#: What is made again by itself or holds nothing: its loss is none.
_DISPOSABLE = re.compile(
    r"""null_resource | terraform_data | archive_file | local_(?:sensitive_)?file
      | template_(?:dir|file|cloudinit_config)
      | random_(?:bytes|id|integer|password|pet|shuffle|string|uuid) | time_(?:offset|rotating|sleep|static)
      | aws_ecs_task_definition | aws_lambda_layer_version | aws_lambda_permission
      | aws_launch_(?:configuration|template) | aws_api_gateway_deployment | google_compute_instance_template
      | aws_autoscaling_(?:attachment|group_tag|lifecycle_hook|notification|policy|schedule)
      | aws_cloudwatch_(?:metric|composite)_alarm
      | (?:aws_cloudwatch|datadog|google_monitoring|grafana|newrelic_one)_dashboard(?:_json)? | dashboards?
      | pods? | replicasets? | jobs? | cronjobs? | events? | endpointslices? | endpoints | controllerrevisions?
      | configmaps? | horizontalpodautoscalers? | poddisruptionbudgets? | leases?
      | AWS::Lambda::(?:Version|Permission) | AWS::ECS::TaskDefinition | AWS::CloudWatch::\w+""",
    re.VERBOSE | re.IGNORECASE,
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
#: Two words that together are something else than either.
_PAIRS = {
    "securitygroup": "network",
    "serviceaccount": "identity",
    "storageaccount": "data store",
    "resourcegroup": "environment",
    "hostedzone": "network",
    "loadbalancer": "network",
}
#: Kinds that nobody has put into the tables above: a deletion is held, a replacement told.
OTHER = "other"


class Loss(msgspec.Struct, frozen=True, order=True):
    """One thing that would be destroyed; `guarded` ones are held for a person."""

    sort: str
    verb: str
    kind: str
    name: str
    guarded: bool

    def __str__(self) -> str:
        return f"{self.verb} {self.sort} {self.name or self.kind}"


class Losses(msgspec.Struct, frozen=True):
    """What a change would destroy, and what nobody can say of it; `id` is what a confirmation names."""

    guarded: tuple[Loss, ...]
    others: tuple[Loss, ...]
    unknown: tuple[str, ...]
    id: str


def losses(actions: Iterable[Action], plan: Plan | None, kinds: frozenset[str], disposable: frozenset[str]) -> Losses:
    """What declared actions and a plan together would destroy.

    `kinds` are further words that make a kind guarded, `disposable` kinds of which a loss is none.
    """
    found: set[Loss] = set()
    unknown = list(plan.unknown) if plan is not None else []
    for action in actions:
        verb = destroys(action.verb)
        if verb is None:
            what = " ".join(part for part in (action.kind, action.name) if part)
            unknown.append(f"the declared action {action.verb!r} on {what or 'nothing named'} is not known")
        elif verb:
            found.add(_loss(action, kinds, disposable))
    for action in plan.destroys if plan is not None else ():
        found.add(_loss(action, kinds, disposable))
    if plan is not None and plan.more:
        unknown.append(f"{plan.more} more of the plan are not listed")
    ordered = sorted(found)
    digest = hashlib.blake2b(digest_size=5)
    for part in (plan.digest if plan is not None else "", *map(str, ordered), *unknown):
        digest.update(part.encode() + b"\x1f")
    return Losses(
        tuple(one for one in ordered if one.guarded),
        tuple(one for one in ordered if not one.guarded),
        tuple(unknown),
        f"loss-{digest.hexdigest()}",
    )


def destroys(verb: str) -> bool | None:
    """Whether a declared verb destroys; None where it is not known, which is no word of peace.

    >>> destroys("delete"), destroys("create, then delete"), destroys("update"), destroys("yeet")
    (True, True, False, None)
    """
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", verb).casefold())
    if any(word in DESTROYING for word in words):
        return True
    fillers = {"in", "place", "then", "and", "or"}
    return False if words and all(word in HARMLESS or word in fillers for word in words) else None


@lru_cache(maxsize=4096)
def sort_of(kind: str) -> str:
    """What a kind of resource is: environment, data store, network, identity, namespace, other, or empty for no loss.

    >>> sort_of("aws_elastic_beanstalk_environment"), sort_of("AWS::RDS::DBInstance"), sort_of("Pod")
    ('environment', 'data store', '')
    """
    kind = kind if kind.isascii() else skeleton(kind)
    if _DISPOSABLE.fullmatch(kind.strip()):
        return ""
    words = [word.casefold() for word in _WORD.findall(kind)]
    for pair in (*map("".join, pairwise(words)), "".join(words)):
        if pair in _PAIRS:
            return _PAIRS[pair]
    found = {*words, "".join(words)}
    for sort, table in _KINDS:
        if found & _table(table):
            return sort
    return OTHER


@lru_cache(maxsize=16)
def _table(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _loss(action: Action, kinds: frozenset[str], disposable: frozenset[str]) -> Loss:
    kind = action.kind.strip().casefold()
    words = {word.casefold() for word in _WORD.findall(action.kind)} | {kind}
    sort = sort_of(action.kind)
    if words & kinds:
        sort = sort or next(iter(words & kinds))
        guarded = True
    elif kind in disposable:
        sort, guarded = sort or OTHER, False
    elif sort == OTHER and (not kind or not kind.isascii()):
        # Of what has no kind, or one that only somebody else can read, nobody can say that it can be made again.
        guarded = True
    elif sort == OTHER:
        guarded = "delete" in action.verb or (destroys(action.verb) is True and not _again(action.verb))
    else:
        guarded = bool(sort)
    return Loss(sort or "disposable", action.verb, action.kind, action.name, guarded)


def _again(verb: str) -> bool:
    """Whether it is made again at once."""
    return any(word in verb.casefold() for word in ("replace", "recreate", "create"))
