"""A trajectory as a tree in one sequence: each executor sees what it sees at inference, and a row costs little more
than its transcript.

The trunk is the transcript. An executor's call is a branch that starts at the end of its prompt:

    opening, plan 1 up to prompt 1.1 --+-- rest of plan 1, executions of stage 1, plan 2 .. the answer
                                       `-- plan closed, execution 1.1 opened, what executor 1.1 writes

Trained are the tokens that a model writes: plans, prompts and the answer on the trunk, the execution and its closing
tag on a branch. A token attends to earlier tokens on its path from the root, and its position is its index on that
path. So its probability is the same as in the call alone (paper, figure 1: executors do not see their siblings). In the
paper's own training rows executors do see earlier siblings. In other formats branches start elsewhere, and may return
less than they write (sprint_sgl/protocol/formats.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from sprint_sgl import protocol
from sprint_sgl.trajectory import Trajectory

IGNORED = -100  # the label of a token that has no loss
Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class TreeNode:
    """A stretch of consecutive tokens.

    parent    index of the node that this one continues, None for the root
    ids       its tokens
    labels    the same ids where they are trained, else IGNORED
    """

    parent: int | None
    ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Tree:
    """Nodes in depth-first order: each node before its children, a subtree without gaps.

    A trainer predicts a token from the token before it in the sequence. So the first token of a node may be trained
    only if the node directly follows its parent. Raise ValueError for nodes in another order.
    """

    nodes: tuple[TreeNode, ...]

    def __post_init__(self) -> None:
        open_nodes: list[int] = []
        for number, node in enumerate(self.nodes):
            while open_nodes and open_nodes[-1] != node.parent:
                open_nodes.pop()
            if bool(open_nodes) != (node.parent is not None):
                raise ValueError(f"node {number} is not in the subtree of its parent, {node.parent}")
            if number and node.parent != number - 1 and node.labels[0] != IGNORED:
                raise ValueError(f"the first token of node {number} is trained, but does not follow its parent")
            open_nodes.append(number)

    @cached_property
    def input_ids(self) -> list[int]:
        return [id for node in self.nodes for id in node.ids]

    @cached_property
    def labels(self) -> list[int]:
        return [label for node in self.nodes for label in node.labels]

    @cached_property
    def starts(self) -> list[int]:
        """The position of each node's first token: the number of tokens above the node."""
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
        """For each node one more than the number of its last descendant. A node's entry is its own number."""
        found = list(range(1, len(self.nodes) + 1))
        for number in reversed(range(len(self.nodes))):
            parent = self.nodes[number].parent
            if parent is not None:
                found[parent] = max(found[parent], found[number])
        return found

    @property
    def token_entries(self) -> list[int]:
        return [number for number, node in enumerate(self.nodes) for _ in node.ids]

    @property
    def token_exits(self) -> list[int]:
        return [exit for exit, node in zip(self.exits, self.nodes, strict=True) for _ in node.ids]

    @property
    def longest_path(self) -> int:
        """Tokens from the root to the farthest leaf; they have to fit into the model's context."""
        return max(start + len(node.ids) for start, node in zip(self.starts, self.nodes, strict=True))

    @property
    def trunk_length(self) -> int:
        """Tokens of the trunk, that is, of the transcript: the nodes that directly follow their parents, from the root
        on.
        """
        count = 0
        for number, node in enumerate(self.nodes):
            if number and node.parent != number - 1:
                break
            count += len(node.ids)
        return count

    @property
    def call_lengths(self) -> list[int]:
        """Tokens of each call with its context: a run of trained tokens and everything that it sees."""
        places = zip(self.position_ids, self.labels, [*self.labels[1:], IGNORED], strict=True)
        return [position + 1 for position, label, then in places if label != IGNORED and then == IGNORED]

    def path(self, number: int) -> tuple[list[int], list[int]]:
        """Return ids and labels from the root to the end of a node."""
        nodes = [self.nodes[each] for each in self.path_nodes(number)]
        return [id for node in nodes for id in node.ids], [label for node in nodes for label in node.labels]

    def path_nodes(self, number: int) -> list[int]:
        """Return the nodes from the root to this one, inclusive."""
        path: list[int] = []
        step: int | None = number
        while step is not None:
            path.append(step)
            step = self.nodes[step].parent
        return path[::-1]


def trajectory_tree(
    opening: str,
    trajectory: Trajectory,
    encode: Encode,
    encode_first: Encode,
    end: int,
    format: protocol.Format = protocol.SPRINT,
) -> Tree:
    """Lay out a trajectory after its opening, tokenised in the same pieces as the requests of a run.

    encode_first   encodes the opening: tokenizers may begin a text with a special token
    end            the token that ends the answer and each execution
    format         where branches start: at their prompt, at the end of the plan, or at the end of the opening
    """
    builder = _TreeBuilder()
    builder.add(encode_first(opening), trained=False)
    root = builder.node() if format.sees == "prompt" else None
    for i, stage in enumerate(trajectory.stages, 1):
        plan = format.open_plan(i)
        branches = []
        for j, (prompt, execution) in enumerate(zip(stage.prompts, stage.executions, strict=True), 1):
            builder.add(encode(plan + format.render_prompt(i, j, prompt)), trained=True)
            plan = ""
            text = format.spell(f"{protocol.escape_tags(execution.text)}{protocol.close_execution(i, j)}\n")
            branches.append((encode(format.open_execution(i, j, prompt)), [*encode(text), end]))
            if format.sees == "text":
                builder.branch(*branches.pop())
        tail = format.spell(f"{protocol.escape_tags(stage.tail)}\n") if stage.tail else ""
        builder.add(encode(plan + tail + format.close_plan(i)), trained=True)
        for branch in branches:
            builder.branch(*branch, at=root)
        builder.add(encode(format.render_executions(i, stage.executions)), trained=False)
    answer = format.spell(protocol.render_final_answer(trajectory.final_answer))
    builder.add([*encode(answer), end], trained=True)
    return builder.tree()


def plain_tree(context: Sequence[int], response: Sequence[int]) -> Tree:
    """Return a row without stages as one path whose response is trained."""
    builder = _TreeBuilder()
    builder.add(context, trained=False)
    builder.add(response, trained=True)
    return builder.tree()


class _TreeBuilder:
    """Builds a tree along its trunk. Tokens added since the last branch are not a node yet."""

    def __init__(self) -> None:
        self._trunk: list[TreeNode] = []
        self._branches: list[TreeNode] = []
        self._ids: list[int] = []
        self._labels: list[int] = []

    def add(self, ids: Sequence[int], *, trained: bool) -> None:
        """Append tokens to the trunk."""
        self._ids += ids
        self._labels += ids if trained else [IGNORED] * len(ids)

    def node(self) -> int:
        """End the trunk's current node and return its index."""
        self._close()
        return len(self._trunk) - 1

    def branch(self, context: Sequence[int], trained: Sequence[int], at: int | None = None) -> None:
        """Add a branch from the current end of the trunk, or from the end of its node `at`."""
        end = self.node()
        labels = (*[IGNORED] * len(context), *trained)
        self._branches.append(TreeNode(end if at is None else at, (*context, *trained), labels))

    def tree(self) -> Tree:
        """Return the tree: the trunk in one piece, then its branches, the last one first (depth-first order, trunk
        first).
        """
        self._close()
        return Tree((*self._trunk, *reversed(self._branches)))

    def _close(self) -> None:
        if self._ids:
            parent = len(self._trunk) - 1 if self._trunk else None
            self._trunk.append(TreeNode(parent, tuple(self._ids), tuple(self._labels)))
            self._ids, self._labels = [], []
