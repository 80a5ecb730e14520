r"""Model text as safe HTML, with formulas rendered and protocol tags highlighted.

Formulas stand between $..$, $$..$$, \(..\) or \[..\], or are a \boxed{}. They become MathML, which browsers draw
without help; a formula that cannot be read stays as written.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup, escape

from sprint_sgl.protocol.lexer import find_tags

LONGEST_FORMULA = 1000  # characters; keeps the time linear for a text full of open brackets
_ANY = f"{{1,{LONGEST_FORMULA}}}?"
_FORMULA = re.compile(
    rf"\$\$(?P<display>.{_ANY})\$\$|\\\[(?P<bracket>.{_ANY})\\\]|\\\((?P<inline>.{_ANY})\\\)"
    rf"|\$(?=\S)(?P<dollar>[^$\n]{_ANY})(?<=\S)\$(?!\d)"
    r"|(?P<boxed>\\boxed\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})",
    re.DOTALL,
)
_MATHML = "{http://www.w3.org/1998/Math/MathML}"
_ELEMENTS = """math menclose mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt
    mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none"""
_SAFE_ELEMENTS = {_MATHML + name for name in _ELEMENTS.split()}
_SAFE_ATTRIBUTES = (
    {"accent", "columnalign", "columnspacing", "depth", "display", "displaystyle", "fence", "form"}
    | {"height", "largeop", "linethickness", "lspace", "mathvariant", "maxsize", "minsize", "movablelimits", "notation"}
    | {"rowspacing", "rspace", "scriptlevel", "separator", "stretchy", "symmetric", "width"}
)


def text_markup(text: str) -> Markup:
    """Return the text as HTML, with formulas as MathML."""
    pieces, seen = [], 0
    for found in _FORMULA.finditer(text):
        pieces += [escape(text[seen : found.start()]), formula_markup(found)]
        seen = found.end()
    return Markup("").join([*pieces, escape(text[seen:])])


def formula_markup(found: re.Match[str]) -> Markup:
    """Return a formula as MathML, or its source if it cannot be read."""
    source = next(part for part in found.groups() if part is not None)
    display = found["display"] is not None or found["bracket"] is not None
    if len(source) <= LONGEST_FORMULA and (drawn := _mathml(source, display)):
        return drawn
    return escape(found[0])


def _mathml(source: str, display: bool) -> Markup | None:
    from latex2mathml.converter import convert

    boxed = source.startswith("\\boxed{")
    try:
        tree = ElementTree.fromstring(
            convert(source[7:-1] if boxed else source, display="block" if display else "inline")
        )
    except Exception:  # the converter has no exception class of its own
        return None
    for element in tree.iter():
        if element.tag not in _SAFE_ELEMENTS:  # the converter makes an element of \text{<script>}
            return None
        # Drop links, styles and scripts, such as from \href.
        for name in set(element.attrib) - _SAFE_ATTRIBUTES:
            del element.attrib[name]
    ElementTree.register_namespace("", _MATHML[1:-1])
    drawn = Markup(ElementTree.tostring(tree, encoding="unicode"))  # escapes text
    return Markup('<span class="boxed">{}</span>').format(drawn) if boxed else drawn


def highlight_tags(text: str) -> Markup:
    """Return the text as HTML, with protocol tags highlighted."""
    pieces, seen = [], 0
    for tag in find_tags(text):
        pieces += [escape(text[seen : tag.start]), Markup('<b class="tag">{}</b>').format(tag.text)]
        seen = tag.end
    return Markup("").join([*pieces, escape(text[seen:])])
