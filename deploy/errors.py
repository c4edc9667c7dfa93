"""Exceptions of the domain. Their text is one line, names the input and says what would have been valid."""

from __future__ import annotations


class DeployError(ValueError):
    """Root of what the domain refuses."""


class InvalidTime(DeployError):
    """A time or duration that cannot be read or that no clock of ours can have shown."""


class InvalidChange(DeployError):
    """A change record that lacks what identifies it or holds a value of the wrong type."""


class InvalidMatcher(DeployError):
    """A matcher that is not NAME OP VALUE, or whose pattern RE2 cannot compile."""


class InvalidPolicy(DeployError):
    """A policy file that is not the policy it means to be; carries file and line."""


class InvalidOrder(DeployError):
    """An operator order that cannot be carried out as written."""


class InvalidProvenance(DeployError):
    """Evidence of who made a change that is not the note, trace, attestation or payload that it means to be."""
