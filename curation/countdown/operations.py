"""Operations of Countdown traces, alone and in chains, as the traces write them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Op:
    """One operation; `str` gives "3+7=10".

    operand   the operation that made the number combined with the value before, None if that number is given
    """

    left: int
    sign: str
    right: int
    value: int
    operand: Op | None = None

    def __str__(self) -> str:
        return f"{self.left}{self.sign}{self.right}={self.value}"


REVERSED = {"-": "<", "/": ">"}  # for a value on the right side: "<79" is 79 minus the value, ">48" is 48 over it


def operation_on(value: int, op: Op) -> str:
    """Return the operation as applied to a value on one of its sides: "+24", or "<79" for 79 minus the value."""
    return f"{op.sign}{op.right}" if op.left == value else f"{REVERSED[op.sign]}{op.left}"


def chain_words(chain: tuple[Op, ...]) -> list[str]:
    """Return the operations in words, each on the value before it: "76-41=35", "35<79=44", "44+24=68"."""
    return [words for words, _ in chain_steps(chain)]


def chain_steps(chain: tuple[Op, ...]) -> list[tuple[str, str]]:
    """Return each operation in words, with its expression over the given numbers: "44+24=68", "(79-35)+24"."""
    first, *others = chain
    text, value = f"{first.left}{first.sign}{first.right}", first.value
    steps = [(str(first), text)]
    for op in others:
        is_reversed = op.left != value
        other = str(op.left if is_reversed else op.right)
        if op.operand:
            inner = f"{op.operand.left}{op.operand.sign}{op.operand.right}"
            steps.append((str(op.operand), inner))
            other = f"({inner})"
        text = f"{other}{op.sign}({text})" if is_reversed else f"({text}){op.sign}{other}"
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


def worked_out(left: int, sign: str, right: int) -> Op | None:
    """Return the operation, or None if its result is below 0 or not whole."""
    if sign == "/":
        return over(left, right) if right and left % right == 0 else None
    value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return Op(left, sign, right, value) if value >= 0 else None


def quotient_words(a: int, b: int) -> str:
    """Return the quotient in words: "48/6=8", or "48/7 no"."""
    return f"{a}/{b} no" if a % b else str(over(a, b))
