"""Every error that a caller may want to tell apart, in one tree.

SprintError
├── BadInput            the question or an option is unusable: change it
│   └── ContextFull     the prompt leaves no room in the model's context
├── RuntimeUnavailable  nothing usable answers: start a runtime, or look at the address
│   └── LaunchFailed    the runtime that we started did not come up; ends with its log
├── RequestFailed       the runtime refused a request or took too long
└── ProgramFailed       a program stopped; says in which branch, and is caused by one of the above
"""

from __future__ import annotations


class SprintError(Exception):
    pass


class BadInput(SprintError, ValueError):
    pass


class ContextFull(BadInput):
    pass


class RuntimeUnavailable(SprintError):
    pass


class LaunchFailed(RuntimeUnavailable):
    pass


class RequestFailed(SprintError):
    pass


class ProgramFailed(SprintError):
    """`branch` is "planner", stage 2" or "executor 2.1"; the cause is chained."""

    def __init__(self, branch: str, cause: BaseException) -> None:
        super().__init__(f"{branch}: {cause}")
        self.branch = branch
