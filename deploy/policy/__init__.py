"""The policy: one reviewed YAML file that says what is guarded, by which numbers, and what may go.

A broken file is refused with its line, its column and with what would be valid. A key that this version does not know
is kept out of the way with a warning, so that one file serves workers of two versions.
"""

from deploy.policy.check import LONGEST_COOL_OFF
from deploy.policy.in_force import Policies
from deploy.policy.model import (
    Approval,
    Approvals,
    BlastRadius,
    Breaker,
    Canary,
    Classes,
    Destructive,
    Detector,
    Effect,
    Environment,
    Fallbacks,
    Guardrail,
    Lane,
    Pace,
    PeerMetrics,
    Peers,
    Person,
    Policy,
    Questions,
    Service,
    Tier,
    Unreachable,
    Watch,
)
from deploy.policy.read import load_policy, parse_policy
from deploy.policy.record import PolicyRecord, policy_id

__all__ = [
    "LONGEST_COOL_OFF",
    "Approval",
    "Approvals",
    "BlastRadius",
    "Breaker",
    "Canary",
    "Classes",
    "Destructive",
    "Detector",
    "Effect",
    "Environment",
    "Fallbacks",
    "Guardrail",
    "Lane",
    "Pace",
    "PeerMetrics",
    "Peers",
    "Person",
    "Policies",
    "Policy",
    "PolicyRecord",
    "Questions",
    "Service",
    "Tier",
    "Unreachable",
    "Watch",
    "load_policy",
    "parse_policy",
    "policy_id",
]
