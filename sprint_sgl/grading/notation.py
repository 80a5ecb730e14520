r"""Tokenize an answer in LaTeX, plain text, Unicode, or a mixture.

Only layout is dropped: spacing, sizes, fonts of formulas, math delimiters, bold marks, a final stop.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto


class UnreadableAnswer(Exception):
    """The answer cannot be read completely; the message says where."""


class TokenKind(Enum):
    NUMBER = auto()  # unsigned, as Python's Fraction reads it: "12", ".5", "1e-3", or repeating: "0.1(6)"
    LETTER = auto()
    RUN = auto()  # adjacent letters outside \text: a word, or a product of variables
    TEXT = auto()  # a word inside \text or a similar command
    COMMAND = auto()  # "\frac", or a sign by its LaTeX name
    SIGN = auto()


@dataclass(frozen=True)
class Token:
    kind: TokenKind
    text: str
    spaced: bool = False  # whether a blank stands before it
    upright: bool = False  # whether it stands in \\text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Commas:
    """How commas between digits are read: 1,000 and 3,14 have two readings each."""

    group_thousands: bool = True
    mark_decimals: bool = False


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SYMBOLS = {
    **dict.fromkeys("−–﹣", "-"),
    **dict.fromkeys("×·⋅∙∗", r"\cdot "),
    **dict.fromkeys("÷∕⁄", "/"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("\u200b\u200c\u200d\ufeff\u2061\u2062", ""),
    "∞": r"\infty ",
    "√": r"\sqrt ",
    "∛": r"\sqrt[3] ",
    "≤": r"\le ",
    "⩽": r"\le ",
    "≥": r"\ge ",
    "⩾": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "°": r"^\circ ",
    "º": r"^\circ ",
    "…": r"\ldots ",
    "⋯": r"\ldots ",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "⌈": r"\lceil ",
    "⌉": r"\rceil ",
}
_GREEK = {
    chr(code): "\\" + unicodedata.name(chr(code)).split()[-1].lower().replace("lamda", "lambda") + " "
    for code in (*range(0x3B1, 0x3C2), *range(0x3C3, 0x3CA))
}

_ALIASES = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), r"\frac"),
    **dict.fromkeys(("times", "cdot", "ast", "bullet"), "*"),
    **dict.fromkeys(("leq", "leqslant", "le"), r"\le"),
    **dict.fromkeys(("geq", "geqslant", "ge"), r"\ge"),
    **dict.fromkeys(("neq", "ne"), r"\ne"),
    **dict.fromkeys(("ldots", "cdots", "dots", "dotsc", "dotsb", "dotsm"), r"\ldots"),
    **dict.fromkeys(("lbrace", "{"), r"\{"),
    **dict.fromkeys(("rbrace", "}"), r"\}"),
    **dict.fromkeys(("lbrack",), "["),
    **dict.fromkeys(("rbrack",), "]"),
    **dict.fromkeys(("lvert", "rvert", "vert", "mid"), "|"),
    **dict.fromkeys(("varnothing", "emptyset"), r"\emptyset"),
    **dict.fromkeys(("lt",), "<"),
    **dict.fromkeys(("gt",), ">"),
    **dict.fromkeys(("dbinom", "tbinom"), r"\binom"),
    **dict.fromkeys(("approx", "simeq", "approxeq"), r"\approx"),
    **dict.fromkeys(("wedge", "land"), r"\land"),
    **dict.fromkeys(("vee", "lor"), r"\lor"),
    **dict.fromkeys(("varphi",), r"\phi"),
    **dict.fromkeys(("varepsilon",), r"\epsilon"),
    "div": "/",
    "colon": ":",
    "imath": "i",
    "backslash": r"\setminus",
    "degree": r"\circ",
    "percent": "%",
    **{sign: sign for sign in "%&#_"},
    "euro": "€",
    "pounds": "£",
}
_WORD_ALIASES = {"infinity": r"\infty", "infty": r"\infty", "inf": r"\infty", "oo": r"\infty", "pi": r"\pi"}
_LAYOUT = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits|boldsymbol|bf|rm|it)(?![A-Za-z])"
    r"|\\[!/]"
)
_SPACE = re.compile(r"\\(?:q?quad|enspace|thinspace|hspace\{[^{}]*\}|phantom\{[^{}]*\})|(?<!\\)\\[,;:> ]|~|&nbsp;")
_DELIMITERS = re.compile(r"\\\(|\\\)|\\\[|\\\]|\$\$")
_FENCE = re.compile(r"\s*(?:\*\*|__|`+)(?P<inside>.*?)(?:\*\*|__|`+)\s*", re.DOTALL)
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|mbox|hbox|mathrm|mathsf|mathit|operatorname)(?![A-Za-z])\s*")
_FONT = re.compile(r"\\(?:mathbf|mathcal|mathfrak|bm)(?![A-Za-z])\s*")
_GROUPED = r"(?<![\d.,])(?!0)\d{1,3}(?:,\d{3})+(?![\d])(?:\.\d+)?|(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d,])(?:\.\d+)?"
_MARKED = r"(?<![\d.,])(?:\d+,\d{2}|\d+,\d{4,}|0,\d+|\d{4,},\d+)(?![\d,])"
_REPEATING = r"\d*\.\d*(?:\\(?:overline|bar|dot)\s*(?:\{\d+\}|\d)|\(\d+\))"
_PLAIN = r"\d+\.\d+|\.\d+|\d+"
_LEXEME = re.compile(
    r"(?P<blank>\s+)"
    rf"|(?P<repeating>{_REPEATING})"
    r"|(?P<number>@)"
    r"|\\(?P<command>[A-Za-z]+|.)"
    r"|(?P<run>[A-Za-z]+)"
    r"|(?P<dots>\.{3,})"
    r"|(?P<power>\*\*)"
    r"|(?P<relation><=|>=|!=|==|=>|->)"
    r"|(?P<sign>.)",
    re.DOTALL,
)
_RELATIONS = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne", "==": "="}


def clean_notation(answer: str) -> str:
    """Return the answer without math delimiters, bold marks and a final stop, with Unicode signs as LaTeX."""
    text = answer.strip()
    while fenced := _FENCE.fullmatch(text):
        text = fenced["inside"]
    if text.count("{") > text.count("}"):
        text = re.sub(r"^\\+boxed\s*\{", "", text)
    text = re.sub(r"\*\*([A-Za-z][^*]*)\*\*", r"\1", text)
    text = re.sub(r"\\color\s*\{[^{}]*\}|\\(?:boldsymbol|bm)(?![A-Za-z])", "", text)
    text = re.sub(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}", text)
    text = re.sub(r"(?<=\d:\d\d) ?([ap])\.?m\b\.?", r"\\text{ \1m}", text, flags=re.IGNORECASE)
    text = re.sub("√ *([0-9]+)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<=\d) ?m([²³])", lambda found: rf"\text{{ m}}{found[1]}", text)
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ]+", lambda found: "^{" + found[0].translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda found: "_{" + found[0].translate(_SUBSCRIPTS) + "}", text)
    text = re.sub("[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]", _unicode_fraction, text)
    text = "".join(_SYMBOLS.get(sign, _GREEK.get(sign, sign)) for sign in text)
    text = unicodedata.normalize("NFKC", text)
    text = "".join(_SYMBOLS.get(sign, sign) for sign in text)
    if r"\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z({\[])", r"\\", text)
    text = _DELIMITERS.sub(" ", re.sub(r'\\?"', "", text))
    text = _without_dollars(text)
    text = re.sub(r"(?<=\d)(?:\s*\{\s*,\s*\}\s*|,\\[!,]\s*|,\s*\\!\s*)(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\s*\{\s*,\s*\}\s*", ",", text)
    text = re.sub(r"(?<=\d)\\,(?=\d{3})", " ", text)
    text = _LAYOUT.sub("", _FONT.sub("", text))
    text = re.sub(r"(?<=\d)(or|and)(?=[A-Z(\\])", r" \1 ", text)
    text = re.sub(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])", r"\\circ ", _SPACE.sub(" ", text))
    text = re.sub(r"\\circ\s*(?:\\(?:text|mathrm)\s*\{\s*([CF])\s*\}|([CF])(?![A-Za-z]))", _temperature, text)
    if r"\vec" in text:
        text = text.replace(r"\times", r"\vectimes")  # not a product of numbers
    return text.strip().rstrip(".").strip() if not text.rstrip().endswith("...") else text.strip()


def _temperature(found: re.Match[str]) -> str:
    return r"\text{ celsius}" if "C" in found.groups() else r"\text{ fahrenheit}"


def _unicode_fraction(found: re.Match[str]) -> str:
    over, _, under = unicodedata.normalize("NFKC", found[0]).partition("\u2044")
    return rf" \frac{{{over}}}{{{under}}}"


def _without_dollars(text: str) -> str:
    """Remove paired dollar signs, which are delimiters; a single one before a number is money and stays."""
    text = text.replace(r"\$", "\0")
    if text.count("$") % 2:
        text = re.sub(r"\$(?=\s*[-\d.])", "\0", text, count=1)
    return text.replace("$", " ").replace("\0", "$")


def tokenize(answer: str, commas: Commas) -> list[Token]:
    """Return the tokens of a cleaned answer. Raises UnreadableAnswer if braces do not match."""
    found: list[Token] = []
    at, spaced = 0, False
    while command := _TEXT.search(answer, at):
        found += _lex(answer[at : command.start()], commas, spaced, in_text=False)
        inside, at = _argument(answer, command.end())
        spaced = answer[: command.start()].endswith(" ")
        found += _lex(inside, commas, spaced, in_text=True)
        spaced = inside.endswith(" ")
    return [*found, *_lex(answer[at:], commas, spaced, in_text=False)]


def _argument(text: str, at: int) -> tuple[str, int]:
    r"""Return the argument of \text or a similar command, and where it ends."""
    if at >= len(text):
        return "", at
    if text[at] != "{":
        return text[at], at + 1
    depth = 0
    for mark in re.finditer(r"\\.|[{}]", text[at:]):
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if not depth:
            return text[at + 1 : at + mark.start()], at + mark.end()
    raise UnreadableAnswer("a brace that is not closed")


def _lex(text: str, commas: Commas, spaced: bool, in_text: bool) -> Iterator[Token]:
    numbers: list[str] = []

    def keep(found: re.Match[str]) -> str:
        numbers.append(_plain_number(found[0]))
        return "@"

    if "@" in text:
        raise UnreadableAnswer("an @")
    wanted = [_MARKED] * commas.mark_decimals + [_GROUPED] * commas.group_thousands + [_PLAIN]
    scientific = r"(?:[eE][-+]?\d+(?![\d.A-Za-z]))?"
    text = re.sub(
        rf"(?P<repeated>{_REPEATING})|(?:{'|'.join(wanted)}){scientific}",
        lambda found: found[0] if found["repeated"] else keep(found),
        text,
    )
    left = iter(numbers)
    for mark in _LEXEME.finditer(text):
        if mark["blank"]:
            spaced = True
            continue
        yield _token(mark, left, spaced, in_text)
        spaced = False


def _plain_number(written: str) -> str:
    if re.fullmatch(_MARKED, written) and not re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+", written):
        return written.replace(",", ".")
    return written.replace(",", "").replace(" ", "")


def _token(mark: re.Match[str], numbers: Iterator[str], spaced: bool, in_text: bool) -> Token:
    if mark["number"]:
        return Token(TokenKind.NUMBER, next(numbers), spaced)
    if mark["repeating"]:
        head, _, period = re.sub(r"\\[a-z]+\s*\{?|\(", "|", mark["repeating"]).partition("|")
        return Token(TokenKind.NUMBER, f"{head}({period.rstrip(')}')})", spaced)
    if name := mark["command"]:
        text = _ALIASES.get(name, "\\" + name)
        if text.isalpha():
            return Token(TokenKind.LETTER, text, spaced)
        return Token(TokenKind.COMMAND if text.startswith("\\") else TokenKind.SIGN, text, spaced)
    if run := mark["run"]:
        if alias := _WORD_ALIASES.get(run.lower() if run != "PI" else run):
            return Token(TokenKind.COMMAND, alias, spaced)
        if len(run) == 1:
            return Token(TokenKind.LETTER, run, spaced, in_text)
        return Token(TokenKind.TEXT if in_text else TokenKind.RUN, run, spaced)
    if mark["dots"]:
        return Token(TokenKind.COMMAND, r"\ldots", spaced)
    if mark["power"]:
        return Token(TokenKind.SIGN, "^", spaced)
    if relation := mark["relation"]:
        text = _RELATIONS.get(relation, relation)
        return Token(TokenKind.COMMAND if text.startswith("\\") else TokenKind.SIGN, text, spaced)
    return Token(TokenKind.SIGN, mark["sign"], spaced)


def spell(found: Sequence[Token]) -> str:
    """Return the tokens in one canonical spelling."""
    return " ".join(
        token.text.casefold() if token.kind in (TokenKind.TEXT, TokenKind.RUN) and len(token.text) > 3 else token.text
        for token in found
    )


def canonical_spelling(answer: str) -> str:
    """Return a text that is equal for answers that differ only in layout. Raises UnreadableAnswer."""
    return spell(tokenize(clean_notation(answer), Commas()))
