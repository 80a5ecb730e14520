r"""Read expressions as exact SymPy values: numbers, variables, roots, powers, functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

import sympy

from sprint_sgl.grading import units
from sprint_sgl.grading.notation import Token, TokenKind, UnreadableAnswer
from sprint_sgl.grading.splitting import CLOSING, OPENING, SEPARATORS, Part, end_of, split
from sprint_sgl.grading.values import Expression, Matrix, Scalar, Value

LONGEST_POWER = 20_000  # largest evaluated power of whole numbers in bits, and argument of a factorial
DEEPEST = 60  # brackets
LOG_BASE = sympy.Symbol("base of log", positive=True)  # natural logarithm of the base of a \\log without one

_CIRCULAR = ("sin", "cos", "tan", "cot", "sec", "csc")
FUNCTIONS: dict[str, Callable[..., Expression]] = {
    **{name: getattr(sympy, name) for name in (*_CIRCULAR, "sinh", "cosh", "tanh", "coth")},
    **{"arc" + name: getattr(sympy, "a" + name) for name in _CIRCULAR},
    **{"a" + name: getattr(sympy, "a" + name) for name in (*_CIRCULAR[:3], "sinh", "cosh", "tanh")},
    "exp": sympy.exp,
    "cis": lambda value: sympy.exp(sympy.I * value),
    "ln": sympy.log,
    "log": lambda value: sympy.log(value) / LOG_BASE,
    "lg": lambda value: sympy.log(value, 10),
    "sqrt": sympy.sqrt,
    "cbrt": lambda value: sympy.Pow(value, sympy.Rational(1, 3)),
    "abs": sympy.Abs,
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
    "max": sympy.Max,
    "min": sympy.Min,
    "gcd": sympy.gcd,
    "lcm": sympy.lcm,
    "Re": sympy.re,
    "Im": sympy.im,
}
_INVERSE = {name: "arc" + name for name in _CIRCULAR}
_MANY = ("max", "min", "gcd", "lcm")
UNKNOWN_FUNCTIONS = {"f", "g", "h"}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell"
)
GREEK = {"\\" + name for name in _GREEK.split()}
_DECORATED = {r"\vec", r"\hat", r"\bar", r"\overline", r"\overrightarrow", r"\tilde", r"\mathbb", r"\widehat"}
_CALCULUS = {r"\sum", r"\prod", r"\int", r"\lim"}
_VALUES = {r"\pi": sympy.pi, r"\infty": sympy.oo}
_CONSTANTS = {"i": sympy.I, "e": sympy.E}


class ExpressionReader:
    """Reads one expression by operator precedence, up to its end or to a unit after it."""

    def __init__(self, found: Part, signs: Sequence[str], letter_units: bool) -> None:
        self._tokens, self._at, self._bars = found, 0, 0
        self._signs, self._signs_read, self._letter_units = signs, 0, letter_units
        self._first_sign = signs[0] if signs else "+"
        self._depth = 0

    def rest(self) -> Part:
        return self._tokens[self._at :]

    def read_value(self) -> Value:
        """Return the value, with its number of decimals if it is a single decimal."""
        if _is_calculus(self._tokens):
            self._at = len(self._tokens)
            return _formula(self._tokens)
        value = self._sum()
        while multiple := units.MULTIPLES.get(self._next.lower().removesuffix("s")):
            self._at += 1
            value = value * multiple
        if self._at < len(self._tokens):
            self._check_unit(value)
        read = [token for token in self._tokens[: self._at] if token.text not in ("-", "+", "(", ")", "{", "}")]
        decimals = None
        if len(read) == 1 and read[0].kind is TokenKind.NUMBER and re.fullmatch(r"\d*\.\d+", read[0].text):
            decimals = len(read[0].text.partition(".")[2])
        return Scalar(_require_finite(value), decimals)

    def _check_unit(self, value: Expression) -> None:
        """Raise UnreadableAnswer unless a unit follows the value that cannot be a factor of its last term."""
        token, before = self._tokens[self._at], self._tokens[: self._at]
        if not self._at_unit():
            raise UnreadableAnswer(f"'{token}' after the value")
        written_as_unit = token.upright or token.kind in (TokenKind.TEXT, TokenKind.SIGN, TokenKind.COMMAND)
        if not written_as_unit and (value.free_symbols or any(each.text in ("+", "-") for each in before[1:])):
            raise UnreadableAnswer(f"'{token}' after an expression")
        if units.may_be_factors(token) and not all(
            each.kind is TokenKind.NUMBER or each.text == "-" for each in before
        ):
            raise UnreadableAnswer(f"'{token}' after an expression")

    def _at_unit(self) -> bool:
        """Return whether a unit begins here. `min` and `sec`, also functions, are units only as the last token."""
        token = self._tokens[self._at]
        if self._at == 0 or (token.text in FUNCTIONS and self._at + 1 < len(self._tokens)):
            return False
        return units.may_begin_unit(token, self._letter_units)

    @property
    def _next(self) -> str:
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> str:
        text = self._next if self._next in wanted else ""
        self._at += bool(text)
        return text

    def _expect(self, wanted: str) -> None:
        if not self._take(wanted):
            raise UnreadableAnswer(
                f"'{self._next}' where '{wanted}' belongs" if self._next else f"no '{wanted}' at the end"
            )

    def _sum(self) -> Expression:
        self._depth += 1
        if self._depth > DEEPEST:
            raise UnreadableAnswer("too many levels")
        value = sympy.Integer(0)
        sign = self._sign() or "+"
        while sign:
            term = self._product()
            value = value + term if sign == "+" else value - term
            sign = self._sign()
        self._depth -= 1
        return value

    def _sign(self) -> str:
        if self._take(r"\pm"):
            self._signs_read += 1
            return self._signs[self._signs_read - 1]
        if self._take(r"\mp"):
            return "-" if self._first_sign == "+" else "+"
        return self._take("+", "-")

    def _product(self) -> Expression:
        value = self._factor()
        while True:
            if self._take("*"):
                value = value * self._factor()
            elif self._take("/"):
                value = _divide(value, self._factor())
            elif self._starts_factor():
                self._refuse_neighbours()
                value = value * self._power()
            else:
                return value

    def _refuse_neighbours(self) -> None:
        before, token = self._tokens[self._at - 1], self._tokens[self._at]
        if token.kind is TokenKind.NUMBER and before.kind in (TokenKind.NUMBER, TokenKind.LETTER, TokenKind.RUN):
            raise UnreadableAnswer(f"'{before}' and '{token}' side by side")

    def _factor(self) -> Expression:
        if self._take("-"):
            return -self._factor()
        if self._take("+"):
            return self._factor()
        return self._power()

    def _starts_factor(self) -> bool:
        if self._at >= len(self._tokens) or self._at_unit():
            return False
        token = self._tokens[self._at]
        if token.kind in (TokenKind.NUMBER, TokenKind.LETTER, TokenKind.RUN):
            return True
        if token.text == "|":
            return not self._bars
        return (
            token.text in ("(", "[", "{", r"\lfloor", r"\lceil", r"\frac", r"\sqrt", r"\binom", r"\emptyset")
            or token.text in _VALUES
            or token.text in GREEK
            or token.text in _DECORATED
            or token.text[1:] in FUNCTIONS
        )

    def _power(self) -> Expression:
        return self._with_exponent(self._with_postfix(self._primary()))

    def _with_exponent(self, value: Expression) -> Expression:
        return _raise_to(value, self._exponent()) if self._take("^") else value

    def _exponent(self) -> Expression:
        if self._take("-"):
            return -self._exponent()
        self._take("+")
        return self._power()

    def _with_postfix(self, value: Expression) -> Expression:
        while True:
            if self._take("!"):
                if self._next == "!":
                    raise UnreadableAnswer("a double factorial")
                value = _factorial(value)
            elif self._next in (r"\circ", "%") and not self._at_last_unit():
                value = value * (sympy.pi / 180 if self._take(r"\circ", "%") == r"\circ" else sympy.Rational(1, 100))
            else:
                return value

    def _at_last_unit(self) -> bool:
        """Return whether the sign ends the expression outside brackets: then it is the unit of the whole value."""
        return self._at == len(self._tokens) - 1 and not self._depth > 1

    def _primary(self) -> Expression:
        if self._at >= len(self._tokens):
            raise UnreadableAnswer("it ends too early")
        token = self._tokens[self._at]
        self._at += 1
        if token.kind is TokenKind.NUMBER:
            return self._mixed_number(_number(token.text))
        if token.kind is TokenKind.LETTER:
            return self._letter(token.text)
        if token.kind in (TokenKind.RUN, TokenKind.TEXT):
            return self._run(token)
        return self._command(token)

    def _mixed_number(self, whole: Expression) -> Expression:
        r"""Read the fraction of a mixed number: 1 1/2, 1\frac{1}{2}."""
        start, signs_read = self._at, self._signs_read
        if not whole.is_Integer or start >= len(self._tokens):
            return whole
        token = self._tokens[start]
        if token.text == r"\frac":
            self._at += 1
            over, under = self._fraction()
        elif (
            token.kind is TokenKind.NUMBER
            and token.spaced
            and self._text(start + 1) == "/"
            and self._is_number(start + 2)
        ):
            over, under = _number(token.text), _number(self._text(start + 2))
            self._at += 3
        else:
            return whole
        if over.is_Integer and under.is_Integer:
            if not 0 < over < under:
                raise UnreadableAnswer("a mixed number whose fraction is not below one")
            return whole + over / under
        self._at, self._signs_read = start, signs_read
        return whole

    def _text(self, at: int) -> str:
        return self._tokens[at].text if at < len(self._tokens) else ""

    def _is_number(self, at: int) -> bool:
        return at < len(self._tokens) and self._tokens[at].kind is TokenKind.NUMBER

    def _letter(self, letter: str) -> Expression:
        if self._next == "_":
            return sympy.Symbol(letter + self._index())
        if letter in UNKNOWN_FUNCTIONS and self._next == "(":
            return sympy.Function(letter)(*self._arguments())
        return _CONSTANTS.get(letter) or sympy.Symbol(letter)

    def _index(self) -> str:
        self._expect("_")
        if self._next != "{":
            self._at += 1
            return "_" + self._text(self._at - 1)
        end = end_of(self._tokens, self._at)
        text = "".join(token.text for token in self._tokens[self._at + 1 : end])
        self._at = end + 1
        return "_" + text

    def _run(self, token: Token) -> Expression:
        name = token.text
        if name in FUNCTIONS:
            return self._function(name)
        if token.kind is TokenKind.TEXT or len(name) > 3:
            raise UnreadableAnswer(f"the word '{name}'")
        value = sympy.Integer(1)
        for letter in name[:-1]:
            value = value * (_CONSTANTS.get(letter) or sympy.Symbol(letter))
        return value * self._with_exponent(self._with_postfix(self._letter(name[-1])))

    def _command(self, token: Token) -> Expression:
        text = token.text
        if text in _VALUES:
            return _VALUES[text]
        if text in ("(", "[", "{"):
            return self._until(CLOSING[OPENING.index(text)])
        if text == "|":
            self._bars += 1
            value = self._sum()
            self._expect("|")
            self._bars -= 1
            return sympy.Abs(value)
        if text in (r"\lfloor", r"\lceil"):
            value = self._until(CLOSING[OPENING.index(text)])
            return sympy.floor(value) if text == r"\lfloor" else sympy.ceiling(value)
        if text == r"\frac":
            return _divide(*self._fraction())
        if text == r"\binom":
            return sympy.binomial(*self._fraction())
        if text == r"\sqrt":
            return self._root()
        if text in _DECORATED:
            return sympy.Symbol(
                f"{text} {''.join(map(str, self._braced()))}" + (self._index() if self._next == "_" else "")
            )
        if text in GREEK:
            return sympy.Symbol(text + (self._index() if self._next == "_" else ""))
        if text[1:] in FUNCTIONS:
            return self._function(text[1:])
        raise UnreadableAnswer(f"'{text}'")

    def _until(self, closing: str) -> Expression:
        bars, self._bars = self._bars, 0
        value = self._sum()
        self._expect(closing)
        self._bars = bars
        return value

    def _braced(self) -> Part:
        """Return the tokens that a command applies to: those in braces, or one."""
        start = self._at
        if start >= len(self._tokens):
            raise UnreadableAnswer("it ends too early")
        end = end_of(self._tokens, start) if self._next == "{" else start
        self._at = end + 1
        return self._tokens[start + 1 : end] if end > start else self._tokens[start : start + 1]

    def _fraction(self) -> tuple[Expression, Expression]:
        r"""Return the two arguments of \frac; without braces, \frac12 has 1 and 2."""
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token and token.kind is TokenKind.NUMBER and token.text.isdecimal() and len(token.text) > 1:
            if len(token.text) > 2:
                raise UnreadableAnswer(f"a fraction of '{token}'")
            self._at += 1
            return sympy.Integer(token.text[0]), sympy.Integer(token.text[1])
        return self._operand(), self._operand()

    def _operand(self) -> Expression:
        """Return the value that a command applies to."""
        if self._next == "{":
            self._at += 1
            return self._until("}")
        return self._primary_only()

    def _primary_only(self) -> Expression:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is not None and token.kind is TokenKind.NUMBER:
            self._at += 1
            if len(token.text) > 1 and token.text.isdecimal() and self._tokens[self._at - 2].text == r"\frac":
                raise UnreadableAnswer(f"a fraction of '{token}'")
            return _number(token.text)
        return self._primary()

    def _root(self) -> Expression:
        degree = sympy.Integer(2)
        if self._take("["):
            degree = self._until("]")
        if self._is_number(self._at) and len(self._next) > 1 and self._tokens[self._at - 1].text == r"\sqrt":
            raise UnreadableAnswer(f"a root of '{self._next}' without braces")
        value = self._operand()
        if value.is_negative and degree.is_odd:
            return -sympy.Pow(-value, 1 / degree)
        return sympy.Pow(value, _divide(sympy.Integer(1), degree))

    def _arguments(self) -> list[Expression]:
        start, end = self._at, end_of(self._tokens, self._at)
        self._at = end + 1
        return [ExpressionReader(part, [], False)._whole() for part in split(self._tokens[start + 1 : end], SEPARATORS)]

    def _whole(self) -> Expression:
        value = self._sum()
        if self._at < len(self._tokens):
            raise UnreadableAnswer(f"'{self._next}' in brackets")
        return value

    def _function(self, name: str) -> Expression:
        power: Expression = sympy.Integer(1)
        if name == "log" and self._next == "_":
            self._at += 1
            base = self._operand()
            return sympy.log(self._argument()) / sympy.log(base)
        if name == "log" and self._text(self._at + 1) == "(" and self._is_number(self._at):
            base = _number(self._next)
            self._at += 1
            return sympy.log(self._argument()) / sympy.log(base)
        if self._take("^"):
            power = self._operand() if self._next != "-" else self._exponent()
        if power == -1 and name in _INVERSE:
            name, power = _INVERSE[name], sympy.Integer(1)
        if name in _MANY:
            if self._next not in ("(", r"\{", "{"):
                raise UnreadableAnswer(f"'{name}' without brackets")
            try:
                return FUNCTIONS[name](*self._arguments())
            except TypeError as error:  # one number, or a complex one
                raise UnreadableAnswer(f"'{name}' of these values") from error
        return _raise_to(FUNCTIONS[name](self._argument()), power)

    def _argument(self) -> Expression:
        """Return a function's argument: in brackets, or all factors up to a sign or the next function."""
        if self._next in ("(", "[", "{"):
            return self._with_postfix(self._primary())
        self._depth += 1  # a degree sign inside belongs to the argument, not to the whole answer
        value = self._power()
        while self._starts_factor() and self._next not in ("(", "[") and self._function_name() not in FUNCTIONS:
            value = value * self._power()
        self._depth -= 1
        if self._next == "/" and self._text(self._at + 1).lstrip("\\") not in FUNCTIONS:
            raise UnreadableAnswer("a division after a function without brackets")
        return value

    def _function_name(self) -> str:
        return self._next.lstrip("\\")


def _number(text: str) -> Expression:
    """Return the exact value of a number."""
    if "(" in text:
        head, _, period = text.rstrip(")").partition("(")
        places = len(head.partition(".")[2])
        start = Fraction(head + "0" if head.endswith(".") else head)
        exact = start + Fraction(int(period), (10 ** len(period) - 1) * 10**places)
        return sympy.Rational(exact.numerator, exact.denominator)
    exponent = re.search(r"[eE]([-+]?\d+)", text)
    if exponent and abs(int(exponent[1])) > LONGEST_POWER:
        raise UnreadableAnswer(f"an exponent over {LONGEST_POWER}")
    exact = Fraction(text)
    return sympy.Rational(exact.numerator, exact.denominator)


def _require_finite(value: Expression) -> Expression:
    if value.has(sympy.zoo, sympy.nan):
        raise UnreadableAnswer("a division by zero")
    return value


def _divide(value: Expression, by: Expression) -> Expression:
    if by == 0:
        raise UnreadableAnswer("a division by zero")
    return value / by


def _raise_to(base: Expression, exponent: Expression) -> Expression:
    if exponent == 1:
        return base
    if base.is_Rational and exponent.is_Integer and base not in (0, 1, -1):
        bits = int(base.p).bit_length() + int(base.q).bit_length()
        if abs(exponent) * bits > LONGEST_POWER:
            return sympy.Pow(base, exponent, evaluate=False)
    if base.is_number and exponent.is_number and exponent.has(sympy.Pow, sympy.factorial):
        return sympy.Pow(base, exponent, evaluate=False)
    return _require_finite(sympy.Pow(base, exponent))


def _factorial(value: Expression) -> Expression:
    return sympy.factorial(value, evaluate=not (value.is_Integer and abs(value) > LONGEST_POWER))


def is_approximation(exact: Value, rounded: Value) -> bool:
    """Return whether the second value is a number within two per cent of the first."""
    if not (isinstance(exact, Scalar) and isinstance(rounded, Scalar)):
        return False
    difference = sympy.N(exact.value - rounded.value, 30)
    return bool(difference.is_real and abs(difference) <= abs(sympy.N(exact.value, 30)) / 50)


def _is_calculus(found: Part) -> bool:
    derivative = r"\\frac\{(?:d|\\partial)[^}]*\}\{(?:d|\\partial)"
    return any(token.text in _CALCULUS or token.text == r"\begin" for token in found) or bool(
        re.search(derivative, "".join(token.text for token in found))
    )


def _formula(found: Part) -> Value:
    """Read sums, products, integrals, limits and matrix products with Math-Verify's parser, all or nothing."""
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy

    known = {*FUNCTIONS, "matrix", "pmatrix", "bmatrix"}
    words = [token for token in found if token.kind in (TokenKind.TEXT, TokenKind.RUN)]
    if odd := [token for token in words if token.text not in known and not re.fullmatch("d[a-z]", token.text)]:
        raise UnreadableAnswer(f"'{odd[0]}' in a formula")
    for one, other in pairwise(found):
        if one.kind is TokenKind.NUMBER and other.kind is TokenKind.NUMBER:
            raise UnreadableAnswer(f"'{one}' and '{other}' side by side")
    text = " ".join("\\cdot" if token.text == "*" else token.text for token in found)
    text = re.sub(r"(\\begin|\\end) \{ (\w+) \}", r"\1{\2}", text)
    try:
        value: Expression = _Latex2Sympy(config=ConversionConfig(lowercase_symbols=False)).parse(text).doit()
    except Exception as error:  # the parser raises bare exceptions
        raise UnreadableAnswer(f"a formula: {str(error).splitlines()[0]}") from error
    if isinstance(value, sympy.MatrixBase):
        return Matrix(tuple(tuple(Scalar(cell) for cell in row) for row in value.tolist()))
    if not isinstance(value, sympy.Expr):
        raise UnreadableAnswer("a formula that is not an expression")
    return Scalar(_require_finite(value))
