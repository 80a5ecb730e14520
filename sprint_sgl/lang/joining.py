"""The hook where a stage's executors are joined: the default waits for all of them (see straggler.py for another)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sprint_sgl.errors import BadInput

if TYPE_CHECKING:
    from sprint_sgl.lang.executors import Executor
    from sprint_sgl.trajectory import Call


class JoinPolicy:
    """How the planner waits for its executors. This one waits for all of them; subclasses may cut some off."""

    @property
    def suffix(self) -> str:
        """The text that is appended to an execution that was cut off."""
        return ""

    def token_limit(self, limit: int) -> int:
        """Return how many tokens an executor may write; `limit` is what any call may write."""
        return limit

    def wait(self, executors: Sequence[Executor]) -> frozenset[int]:
        """Wait for the executors; return the numbers, from 1, of those that were stopped."""
        return frozenset()

    def was_cut_off(self, call: Call, stopped: bool) -> bool:
        """Whether this policy, rather than the model or another limit, ended the execution."""
        return False


WAIT_FOR_ALL = JoinPolicy()


def checked_policy(policy: object) -> JoinPolicy:
    """Return the policy; for None the default one, which waits for every executor. Raises BadInput for all else."""
    if not isinstance(policy, JoinPolicy | None):
        raise BadInput(f"straggler must be a StragglerPolicy(budget=..., patience=..., quorum=...), got {policy!r}")
    return policy or WAIT_FOR_ALL
