"""The page at `/`: type a question and watch the branches write. One document, which calls only this server."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import HTMLResponse

from sprint_sgl.protocol import PAGE_PATTERNS
from sprint_sgl.view.pages import render_page, script_source
from sprint_sgl.view.trajectory_page import STYLE as STAGE_STYLE

HERE = Path(__file__).parent


def live_page() -> HTMLResponse:
    """Return the page, with a policy that forbids other scripts and other servers."""
    script = (HERE / "page.js").read_text()
    own_style = (HERE / "page.css").read_text()
    text = render_page(
        HERE / "page.html.j2", script=script, protocol=PAGE_PATTERNS, stage_style=STAGE_STYLE, own_style=own_style
    )
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {script_source(script)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})
