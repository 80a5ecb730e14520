"""Pictures of all pages, light and dark, wide and on a phone, taken in a real Chromium.

    python -m benchmarks.screenshots --bench work/bench --training work/mini/sprint --out work/screenshots

The live page is that of `sprint-sgl serve` with the shipped models, the curation report that of examples/traces.jsonl.
`--docs docs/images` also writes the pictures that README and documents show.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import httpx
import typer
from playwright.sync_api import Browser, Page, sync_playwright

from sprint_sgl.bench.report.page import write_report
from sprint_sgl.console import one_line_errors
from sprint_sgl.view.trajectory_page import read_runs, write_trajectory_page
from training.report import write_training_report

QUESTION = "Use 15, 3 and 62 to make 80"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
IN_DOCS = (("live", "light", "desktop"), ("viewer", "dark", "desktop"), ("report", "light", "desktop"))
START_LIMIT = 300.0  # seconds
MOST_RUNS = 40  # on the viewer's page


@contextmanager
def served() -> Iterator[str]:
    """Yield the address of `sprint-sgl serve` with the shipped models."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "sprint_sgl.cli.app", "serve", "--port", str(port)]
    server, url = subprocess.Popen(command), f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                if httpx.get(f"{url}/health", timeout=5.0).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("sprint-sgl serve did not come up")
            time.sleep(1.0)
        yield url
    finally:
        server.terminate()
        server.wait()


def ask_and_compare(page: Page) -> None:
    """Have the live page answer a question, and compare with the sequential model."""
    page.set_default_timeout(1000 * START_LIMIT)
    page.fill("#temperature", "0")
    page.fill("#question", QUESTION)
    page.click("#ask")
    page.locator("#result article").wait_for()
    page.click("#compare")
    page.locator("#result article").nth(1).wait_for()


def take(browser: Browser, name: str, url: str, out: Path, prepare: Callable[[Page], None] | None = None) -> None:
    for scheme in SCHEMES:
        for device, (width, height) in SIZES.items():
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
            page = context.new_page()
            page.goto(url)
            page.wait_for_load_state("networkidle")
            if prepare:
                if device == "phone":
                    page.click("#settings summary")
                prepare(page)
            page.screenshot(path=out / f"{name}-{scheme}-{device}.png", full_page=True)
            context.close()


def main(
    bench: Annotated[Path, typer.Option(help="a folder written by bench, with two methods")],
    training: Annotated[Path, typer.Option(help="a folder written by train")],
    out: Annotated[Path, typer.Option(help="where the pictures are written")] = Path("work/screenshots"),
    docs: Annotated[Path | None, typer.Option(help="where the documents' pictures are written")] = None,
) -> None:
    chromium = shutil.which("chromium")
    if not chromium:
        raise SystemExit("no Chromium here: apt-get install chromium")
    for folder in filter(None, (out, docs)):
        folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as made_in, sync_playwright() as playwright:
        made = Path(made_in)
        write_report([bench], made / "report")
        write_trajectory_page(read_runs(bench)[:MOST_RUNS], made / "viewer.html", "Countdown, three numbers")
        curate = ["curate", "source.path=examples/traces.jsonl", f"out={made / 'curation'}"]
        subprocess.run([sys.executable, "-m", "sprint_sgl.cli.app", *curate], check=True, stdout=subprocess.DEVNULL)
        trained = write_training_report(training)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        pages = {
            "report": made / "report" / "report.html",
            "viewer": made / "viewer.html",
            "curation": made / "curation" / "report.html",
            "training": trained,
        }
        for name, path in pages.items():
            if path:
                take(browser, name, path.absolute().as_uri(), out)
        with served() as url:
            take(browser, "live", url, out, ask_and_compare)
        browser.close()
    for name, scheme, device in IN_DOCS if docs else ():
        crop(out / f"{name}-{scheme}-{device}.png", Path(str(docs), f"{name}.png"))


def crop(source: Path, target: Path, height: int = 1250) -> None:
    """Write the top of a picture, with few colours, so that it is small."""
    from PIL import Image

    with Image.open(source) as image:
        top = image.convert("RGB").crop((0, 0, image.width, min(height, image.height)))
        top.quantize(160).save(target, optimize=True)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
