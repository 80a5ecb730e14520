"""Self-contained HTML pages: templates, their common style, and inline charts.

The same input gives the same bytes: no dates, nothing random. Text is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprint_sgl.storage.files import whole_file

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("pages.css").read_text()
INK, EDGE = "#333333", "#888888"
SERIES = ("#1f5fa8", "#b8560f", "#2f7a3f", "#a3325f", "#6a4ca8", "#3c7a8c")  # --c0 and following of pages.css
BAR, PALE_BAR = "#2f5d8a", "#cbd3dc"
CHART_WIDTH = 10.0  # inches, of every chart, so that a page shows all at one width and size of text
PHONE_WIDTH, PHONE_PANELS = 4.4, 2  # inches; panels side by side
# Colours of a chart that follow the page's theme.
THEMED = {INK: "ink", EDGE: "muted", BAR: "bar", PALE_BAR: "bar-pale", "#b0b0b0": "line"} | {
    color: f"c{number}" for number, color in enumerate(SERIES)
}
_COLOR = re.compile("|".join(THEMED))


def render_page(template: Path, **values: Any) -> str:
    """Return the page; values are escaped unless the template marks them as safe."""
    return str(_environment(template.parent).get_template(template.name).render(style=STYLE, **values))


@cache
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),  # pages share the frame and macros of this folder
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def script_source(script: str) -> str:
    """Return the source by which a content security policy allows this inline script and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def write_page(template: Path, path: Path, **values: Any) -> None:
    """Render the page into a file."""
    with whole_file(path) as file:
        file.write(render_page(template, **values))


@contextmanager
def chart_style() -> Iterator[None]:
    """Set matplotlib's style for reproducible SVG: text stays text, and ids depend on the contents only."""
    import matplotlib
    from cycler import cycler

    with matplotlib.rc_context(
        {
            "svg.hashsalt": "sprint-sgl",
            "svg.fonttype": "none",
            "text.parse_math": False,
            "font.size": 9,
            "axes.titlesize": 9.5,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": EDGE,
            "axes.labelcolor": INK,
            "axes.prop_cycle": cycler(color=SERIES),
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    ):
        yield


def figure_svg(figure: Figure) -> str:
    """Return the figure as SVG elements whose colours follow the page's theme: one as wide as a page, and one for
    phones if it has at most two panels side by side.
    """
    places = [place for axes in figure.axes if (place := axes.get_subplotspec())]
    if max((place.get_gridspec().ncols for place in places), default=1) > PHONE_PANELS:
        return _svg(figure, "")
    width, height = figure.get_size_inches()
    wide = _svg(figure, "wide")
    figure.set_size_inches(PHONE_WIDTH, height)
    narrow = _svg(figure, "narrow")
    figure.set_size_inches(width, height)
    return wide + narrow


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element of this class, with ids of its own."""
    import matplotlib

    text = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": f"sprint-sgl {name}"}):
        figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    element = text.getvalue()[text.getvalue().index("<svg") :]
    if name:
        element = element.replace("<svg", f'<svg class="{name}"', 1)
    return _COLOR.sub(lambda found: f"var(--{THEMED[found[0]]})", element)
