"""The calls of a group of rollouts as one tree: what they share is computed once.

Every call continues a context that other calls of its run, and often of the other runs of its question, begin with
too. The tree has each such beginning once (training/tree/layout.py has the same for one transcript). A token that
several rollouts sampled at the same place keeps the sum of their positive and that of their negative advantages, which
is all that a clipped policy gradient needs to know of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from training.rl.recording import SampledCall
from training.tree.layout import IGNORED, Tree, TreeNode

FLAT = 1e-9  # advantages below are rounding errors


@dataclass(frozen=True)
class CreditedCall:
    """A call, and the advantage of its tokens."""

    call: SampledCall
    advantage: float


@dataclass(frozen=True)
class RolloutTree:
    """A tree with what a policy gradient needs, as lists with one number for each sampled token.

    targets    places of the sampled tokens in the sequence
    sources    places of the tokens after which they were sampled
    logprobs   under the policy that sampled them, the mean over the calls that did
    gains      sum of the positive advantages of these calls
    losses     sum of the negative ones
    counts     number of these calls
    """

    tree: Tree
    targets: list[int]
    sources: list[int]
    logprobs: list[float]
    gains: list[float]
    losses: list[float]
    counts: list[int]

    @property
    def teaches(self) -> bool:
        """Whether any token has an advantage left: where all rollouts wrote the same, gains and losses cancel."""
        return any(abs(gain + loss) > FLAT for gain, loss in zip(self.gains, self.losses, strict=True))


# A tree that teaches nothing, for a process that has fewer trees than the others.
REST = RolloutTree(Tree((TreeNode(None, (0, 0), (IGNORED, IGNORED)),)), [1], [0], [0.0], [0.0], [0.0], [0])


@dataclass
class _Token:
    """A token in the trie; `size` counts the tokens of its subtree, itself included."""

    id: int
    next: dict[int, _Token] = field(default_factory=dict)
    logprob: float = 0.0
    gain: float = 0.0
    loss: float = 0.0
    count: int = 0
    size: int = 0


def merge_calls(calls: Iterable[CreditedCall]) -> RolloutTree:
    """Return the tree of all calls. Raises ValueError if they do not begin with the same token."""
    root = _Token(-1)
    for each in calls:
        _insert(root, each)
    if len(root.next) != 1:
        raise ValueError(f"calls of one tree begin with one token, got {len(root.next)} different ones")
    (first,) = root.next.values()
    _measure(first)
    return _lay_out(first)


def _insert(root: _Token, credited: CreditedCall) -> None:
    call, token = credited.call, root
    for id in call.context:
        token = token.next.setdefault(id, _Token(id))
    for id, logprob in zip(call.ids, call.logprobs, strict=True):
        token = token.next.setdefault(id, _Token(id))
        token.logprob += logprob
        token.gain += max(credited.advantage, 0.0)
        token.loss += min(credited.advantage, 0.0)
        token.count += 1


def _measure(first: _Token) -> None:
    """Set the sizes of all subtrees. Contexts are too long for recursion."""
    order, stack = [], [first]
    while stack:
        order.append(stack.pop())
        stack.extend(order[-1].next.values())
    for token in reversed(order):
        token.size = 1 + sum(child.size for child in token.next.values())


def _lay_out(first: _Token) -> RolloutTree:
    """Return the tokens as nodes in depth-first order, the largest subtree first, so that the trunk is in one piece."""
    nodes: list[TreeNode] = []
    sampled: list[tuple[int, int, _Token]] = []  # source, target, token
    stack: list[tuple[_Token, int | None, int]] = [(first, None, -1)]  # token, its node's parent, place above it
    place = 0
    while stack:
        token, parent, source = stack.pop()
        ids: list[int] = []
        while True:
            if token.count:
                sampled.append((source, place, token))
            ids.append(token.id)
            source, place = place, place + 1
            if len(token.next) != 1:
                break
            (token,) = token.next.values()
        nodes.append(TreeNode(parent, tuple(ids), (IGNORED,) * len(ids)))
        below = sorted(token.next.values(), key=lambda child: child.size)
        stack.extend((child, len(nodes) - 1, source) for child in below)
    return RolloutTree(
        Tree(tuple(nodes)),
        targets=[target for _, target, _ in sampled],
        sources=[source for source, _, _ in sampled],
        logprobs=[token.logprob / token.count for *_, token in sampled],
        gains=[token.gain for *_, token in sampled],
        losses=[token.loss for *_, token in sampled],
        counts=[token.count for *_, token in sampled],
    )


def pack_rollouts(rollouts: Sequence[Sequence[CreditedCall]], max_length: int) -> list[RolloutTree]:
    """Return as few trees as possible of at most `max_length` tokens, each of whole rollouts, in their order.

    A rollout that is longer by itself gets a tree of its own. Calls that begin with another token, as other prompts of
    a program may, are in other trees.
    """
    beginnings = dict.fromkeys(each.call.context[:1] for rollout in rollouts for each in rollout)
    if len(beginnings) > 1:
        parts = [[[c for c in rollout if c.call.context[:1] == first] for rollout in rollouts] for first in beginnings]
        return [tree for part in parts for tree in pack_rollouts([calls for calls in part if calls], max_length)]
    trees: list[RolloutTree] = []
    held: list[CreditedCall] = []
    for rollout in filter(None, rollouts):
        grown = merge_calls([*held, *rollout])
        if held and len(grown.tree.input_ids) <= max_length:
            trees[-1], held = grown, [*held, *rollout]
        else:
            trees.append(merge_calls(rollout) if held else grown)
            held = [*rollout]
    return trees
