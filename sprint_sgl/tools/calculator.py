"""The calculator: exact arithmetic on whole numbers, decimals and fractions, without `eval`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from fractions import Fraction

from sprint_sgl.tools.tool import ToolError, tool

LONGEST = 2_000  # characters of an expression
LARGEST = 10_000  # bits of a number on the way
_SIGNS = {0xD7: "*", 0xF7: "/", 0x2212: "-"}  # the signs of multiplication, division and minus in print
_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


@tool(time_limit=5.0, retries=0, parallel=64)
def calculator(expression: str) -> str:
    """Work out an expression of numbers, + - * / // % ** and brackets, exactly: "1/3+1/6" gives "1/2"."""
    text = expression.strip().translate(_SIGNS).replace("^", "**")
    if len(text) > LONGEST:
        raise ToolError(f"the expression has {len(text):,} characters; at most {LONGEST:,} are read")
    try:
        value = _value(ast.parse(text, mode="eval").body, text)
    except ZeroDivisionError:
        raise ToolError("division by zero") from None
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        raise ToolError(f"not an expression of numbers: {expression.strip()[:200]}") from None
    return str(value)


def _value(node: ast.expr, text: str) -> Fraction:
    match node:
        case ast.Constant(value=int() as whole) if not isinstance(whole, bool):
            return _bounded(Fraction(whole))
        case ast.Constant(value=float()):
            return _decimal(str(ast.get_source_segment(text, node)))
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, text)
        case ast.UnaryOp(op=ast.UAdd()):
            return _value(node.operand, text)
        case ast.BinOp(op=ast.Pow()):
            return _power(_value(node.left, text), _value(node.right, text))
        case ast.BinOp() if type(node.op) in _OPERATIONS:
            return _bounded(Fraction(_OPERATIONS[type(node.op)](_value(node.left, text), _value(node.right, text))))
    raise ToolError(f"only numbers, + - * / // % ** and brackets can be worked out, not {ast.unparse(node)[:200]}")


def _decimal(written: str) -> Fraction:
    """Return a decimal as it is written: 0.1 is one tenth, and not the nearest float."""
    exponent = written.lower().partition("e")[2].lstrip("+-")
    if len(exponent) > 4:
        raise ToolError(f"the exponent of {written} is too large")
    return _bounded(Fraction(written))


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ToolError("the exponent of ** must be a whole number")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits > 1 and abs(exponent) * bits > LARGEST:
        raise ToolError("the result is too large")
    return Fraction(base**exponent.numerator)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > LARGEST:
        raise ToolError("the result is too large")
    return value
