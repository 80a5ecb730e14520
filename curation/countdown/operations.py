"""Operations of Countdown traces, alone and in chains, as the traces write them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Op:
    """One operation; `str` gives "3+7=10"."""

    left: int
    sign: str
    right: int
    value: int

    def __str__(self) -> str:
        return f"{self.left}{self.sign}{self.right}={self.value}"


def operation_on(value: int, op: Op) -> str:
    """Return the operation as applied to a value on one of its sides: "+24", or "<79" for 79 minus the value."""
    return f"{op.sign}{op.right}" if op.left == value else f"<{op.left}"


def chain_words(chain: tuple[Op, ...]) -> list[str]:
    """Return the operations in words, each on the value before it: "76-41=35", "35<79=44", "44+24=68"."""
    return [words for words, _ in chain_steps(chain)]


def chain_steps(chain: tuple[Op, ...]) -> list[tuple[str, str]]:
    """Return each operation in words, with its expression over the given numbers: "44+24=68", "(79-35)+24"."""
    first, *others = chain
    text, value = f"{first.left}{first.sign}{first.right}", first.value
    steps = [(str(first), text)]
    for op in others:
        text = f"({text}){op.sign}{op.right}" if op.left == value else f"{op.left}{op.sign}({text})"
        steps.append((f"{value}{operation_on(value, op)}={op.value}", text))
        value = op.value
    return steps


def plus(a: int, b: int) -> Op:
    return Op(a, "+", b, a + b)


def minus(a: int, b: int) -> Op:
    """Return the larger minus the smaller."""
    return Op(max(a, b), "-", min(a, b), abs(a - b))


def times(a: int, b: int) -> Op:
    return Op(a, "*", b, a * b)


def over(a: int, b: int) -> Op:
    return Op(a, "/", b, a // b)
