"""Self-contained HTML pages: templates, their common style, and inline charts.

The same input gives the same bytes: no dates, nothing random. Text is escaped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprint_sgl.storage.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("pages.css").read_text()
INK = "#333333"


def render_page(template: Path, **values: Any) -> str:
    """Return the page; values are escaped unless the template marks them as safe."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),  # pages share the macros of this folder
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return pages.get_template(template.name).render(style=STYLE, **values)


def write_page(template: Path, path: Path, **values: Any) -> None:
    """Render the page into a file."""
    with whole_file(path) as file:
        file.write(render_page(template, **values))


@contextmanager
def chart_style() -> Iterator[None]:
    """Set matplotlib's style for reproducible SVG: text stays text, and ids depend on the contents only."""
    import matplotlib

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
            "axes.edgecolor": "#888888",
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    ):
        yield


def figure_svg(figure: Figure) -> str:
    """Return the figure as an SVG element for a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return text.getvalue()[text.getvalue().index("<svg") :]
