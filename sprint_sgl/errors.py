"""Every error that a caller may want to tell apart, in one tree. A command prints it as one line and exits with 1.

SprintError
├── BadInput            a question, an option or a file is unusable: change it
│   ├── ContextFull     the prompt leaves no room in the model's context
│   └── NoSuchModel     the server offers no model of that name
├── RuntimeUnavailable  no usable runtime answers: start one, or check the address
│   └── LaunchFailed    a runtime that we started did not come up; the message ends with its log
├── RequestFailed       the runtime refused a request or took too long
├── ProgramFailed       a program stopped; names the branch, and is caused by one of the above
├── ToolFailed          a tool failed, and its box says that this ends the run
├── CommandFailed       a subprocess exited with a status other than 0
├── Busy                the server's queue is full: ask again later
├── DeadlinePassed      a run took longer than its time limit
└── ServerStopping      the server is being stopped, and its runs with it

sprint_sgl/serving/errors.py has the HTTP statuses of those that reach a client.
"""

from __future__ import annotations


class SprintError(Exception):
    pass


class BadInput(SprintError, ValueError):
    pass


class ContextFull(BadInput):
    pass


class NoSuchModel(BadInput):
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


class ToolFailed(SprintError):
    pass


class CommandFailed(SprintError):
    pass


class Busy(SprintError):
    """`retry_after` is when to ask again, in whole seconds from now."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy and its queue is full: try again in {retry_after} s")
        self.retry_after = retry_after


class DeadlinePassed(SprintError):
    pass


class ServerStopping(SprintError):
    def __init__(self) -> None:
        super().__init__("the server is being stopped")
