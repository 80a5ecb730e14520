"""Pages that load nothing from anywhere: templates, their common style, and charts that stand inside them.

The same input gives the same bytes: no dates, nothing random. Text of models is data and is escaped.
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


def page(template: Path, **values: Any) -> str:
    """The page's text; all values are escaped but those that the template calls safe."""
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


def render(template: Path, path: Path, **values: Any) -> None:
    """Writes the page to a file."""
    with whole_file(path) as file:
        file.write(page(template, **values))


@contextmanager
def chart_style() -> Iterator[None]:
    """Text stays text, and ids depend on the contents alone."""
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


def svg(figure: Figure) -> str:
    """The figure as an element to stand inside a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return text.getvalue()[text.getvalue().index("<svg") :]
