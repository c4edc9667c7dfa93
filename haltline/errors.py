"""Exceptions of the face. Their text is one line that a person can act on."""

from __future__ import annotations


class HaltlineError(Exception):
    """Root of what the command line tells its user in one line; `exit_code` is what the process ends with."""

    exit_code = 1


class InvalidSettings(HaltlineError):
    """A flag, an environment variable or a context file that says something no setting can be."""


class NotFound(HaltlineError):
    """No record of that name."""


class UnreadableInput(HaltlineError):
    """A file that was given cannot be read as what it should hold; names the file and the line."""

    exit_code = 2
