"""Readers of plans: what Terraform, Kubernetes or CloudFormation is about to do to the outside, as actions.

A reader keeps what destroys and what it does not understand; what is created or changed in place it only counts. What
it does not understand is said, never dropped: the gate holds it.
"""

from deploy.plans.plan import LARGEST, Plan, plan_from_object, plan_to_object
from deploy.plans.read import read_plan

__all__ = ["LARGEST", "Plan", "plan_from_object", "plan_to_object", "read_plan"]
