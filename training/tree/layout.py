"""A trajectory as a tree in one sequence: each executor sees what it sees at inference, at the price of a transcript.

The transcript is the trunk, cut where executors leave it; an executor's call is a branch from the end of its prompt:

    opening, plan 1 up to prompt 1.1 --+-- rest of plan 1, executions of stage 1, plan 2 .. the answer
                                       `-- plan closed, execution 1.1 opened, what executor 1.1 writes

Trained is what a model writes: on the trunk plans, prompts and the answer; on a branch the execution and its closing
tag. A token attends to those before it on the path from the root, and its position is its place on that path, so that
its probability is the one in the call on its own (paper, figure 1: executors do not see their siblings). The paper's
own rows train executors that do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from sprint_sgl import protocol
from sprint_sgl.trajectory import Trajectory

IGNORED = -100  # a label that no loss is taken of
Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class Node:
    """A stretch of tokens that are read one after the other.

    parent    index of the node that it goes on from, None for the root
    ids       its tokens
    labels    the same where a model is to write them, else IGNORED
    """

    parent: int | None
    ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Tree:
    """Nodes in the order in which a walk meets them: each before its children, a subtree without gaps.

    A trainer takes the loss of a token from what stands before it in the sequence. So the first token of a node is
    trained only where the node stands directly behind its parent. Raises ValueError for nodes in another order.
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        open_nodes: list[int] = []
        for number, node in enumerate(self.nodes):
            while open_nodes and open_nodes[-1] != node.parent:
                open_nodes.pop()
            if bool(open_nodes) != (node.parent is not None):
                raise ValueError(f"node {number} stands apart from its parent, {node.parent}")
            if number and node.parent != number - 1 and node.labels[0] != IGNORED:
                raise ValueError(f"the first token of node {number} is trained and does not follow its parent")
            open_nodes.append(number)

    @cached_property
    def input_ids(self) -> list[int]:
        return [id for node in self.nodes for id in node.ids]

    @cached_property
    def labels(self) -> list[int]:
        return [label for node in self.nodes for label in node.labels]

    @cached_property
    def starts(self) -> list[int]:
        """The position of each node's first token: how many tokens are above it."""
        found: list[int] = []
        for node in self.nodes:
            found.append(0 if node.parent is None else found[node.parent] + len(self.nodes[node.parent].ids))
        return found

    @property
    def position_ids(self) -> list[int]:
        spans = zip(self.starts, self.nodes, strict=True)
        return [position for start, node in spans for position in range(start, start + len(node.ids))]

    @cached_property
    def exits(self) -> list[int]:
        """The number behind each node's last descendant; its own number is its entry."""
        found = list(range(1, len(self.nodes) + 1))
        for number in reversed(range(len(self.nodes))):
            parent = self.nodes[number].parent
            if parent is not None:
                found[parent] = max(found[parent], found[number])
        return found

    @property
    def entry_of_tokens(self) -> list[int]:
        return [number for number, node in enumerate(self.nodes) for _ in node.ids]

    @property
    def exit_of_tokens(self) -> list[int]:
        return [exit for exit, node in zip(self.exits, self.nodes, strict=True) for _ in node.ids]

    @property
    def longest_path(self) -> int:
        """Tokens from the root to the farthest leaf: what has to fit into the model's context."""
        return max(start + len(node.ids) for start, node in zip(self.starts, self.nodes, strict=True))

    @property
    def trunk(self) -> int:
        """Tokens of the path along which each node stands behind its parent: the transcript."""
        count = 0
        for number, node in enumerate(self.nodes):
            if number and node.parent != number - 1:
                break
            count += len(node.ids)
        return count

    @property
    def call_lengths(self) -> list[int]:
        """Tokens of each call, with its context: a stretch of trained tokens and all that it sees."""
        places = zip(self.position_ids, self.labels, [*self.labels[1:], IGNORED], strict=True)
        return [position + 1 for position, label, then in places if label != IGNORED and then == IGNORED]

    def path(self, number: int) -> tuple[list[int], list[int]]:
        """The ids and labels from the root to the end of a node."""
        nodes = [self.nodes[each] for each in self.above(number)]
        return [id for node in nodes for id in node.ids], [label for node in nodes for label in node.labels]

    def above(self, number: int) -> list[int]:
        """The nodes from the root to this one, itself too."""
        path: list[int] = []
        step: int | None = number
        while step is not None:
            path.append(step)
            step = self.nodes[step].parent
        return path[::-1]


def trajectory_tree(opening: str, trajectory: Trajectory, encode: Encode, encode_first: Encode, end: int) -> Tree:
    """Lay out a trajectory behind its opening, in the pieces in which a runtime is sent it.

    encode_first   for the opening: tokenizers begin a text with a token of their own
    end            the token by which the model ends its answer, and each execution
    """
    grown = _Growing()
    grown.add(encode_first(opening), trained=False)
    for i, stage in enumerate(trajectory.stages, 1):
        plan = protocol.open_plan(i)
        for j, (prompt, execution) in enumerate(zip(stage.prompts, stage.executions, strict=True), 1):
            grown.add(encode(plan + protocol.render_prompt(i, j, prompt)), trained=True)
            plan = ""
            text = f"{protocol.escape_tags(execution.text)}{protocol.close_execution(i, j)}\n"
            grown.branch(encode(protocol.close_plan(i) + protocol.open_execution(i, j)), [*encode(text), end])
        tail = f"{protocol.escape_tags(stage.tail)}\n" if stage.tail else ""
        grown.add(encode(plan + tail + protocol.close_plan(i)), trained=True)
        grown.add(encode(protocol.render_executions(i, stage.executions)), trained=False)
    grown.add([*encode(protocol.render_final_answer(trajectory.final_answer)), end], trained=True)
    return grown.tree()


def plain_tree(context: Sequence[int], response: Sequence[int]) -> Tree:
    """A row without stages: one path, of which the response is trained."""
    grown = _Growing()
    grown.add(context, trained=False)
    grown.add(response, trained=True)
    return grown.tree()


class _Growing:
    """A tree while its trunk grows; the stretch since the last branch is not a node yet."""

    def __init__(self) -> None:
        self._trunk: list[Node] = []
        self._branches: list[Node] = []
        self._ids: list[int] = []
        self._labels: list[int] = []

    def add(self, ids: Sequence[int], *, trained: bool) -> None:
        """Tokens at the end of the trunk."""
        self._ids += ids
        self._labels += ids if trained else [IGNORED] * len(ids)

    def branch(self, context: Sequence[int], trained: Sequence[int]) -> None:
        """A branch from the end of the trunk as it is now."""
        self._close()
        labels = (*[IGNORED] * len(context), *trained)
        self._branches.append(Node(len(self._trunk) - 1, (*context, *trained), labels))

    def tree(self) -> Tree:
        """The trunk in one piece, then its branches, the last one first: a walk that goes along the trunk first."""
        self._close()
        return Tree((*self._trunk, *reversed(self._branches)))

    def _close(self) -> None:
        if self._ids:
            parent = len(self._trunk) - 1 if self._trunk else None
            self._trunk.append(Node(parent, tuple(self._ids), tuple(self._labels)))
            self._ids, self._labels = [], []
