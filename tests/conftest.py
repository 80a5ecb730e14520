from __future__ import annotations

import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, Page, sync_playwright

if TYPE_CHECKING:
    from sprint_sgl.runtime.endpoint import Endpoint

# A shell that starts the tests in the background may ignore Ctrl-C, and every child process would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

ROOT = Path(__file__).parents[1]
SLOW = ("training", "runtime")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with many slow tests first, so that quick files fill the gaps at the end."""
    slow = Counter(item.path for item in items if any(map(item.get_closest_marker, SLOW)))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what commands write into the user's cache folder inside the tests' temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPRINT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded traces and problem sets beside the repository; tests are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium. Its event loop runs in this thread until the module ends."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture(scope="session")
def sglang_imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process that has imported SGLang, from which CPU runtimes are forked in seconds; kept for the whole session."""
    from sprint_sgl.runtime.preloaded import keep_preloader
    from sprint_sgl.runtime.server import runtime_config, server_environment

    with keep_preloader(
        server_environment(runtime_config("cpu").env), tmp_path_factory.mktemp("sglang") / "imports.log"
    ):
        yield


@pytest.fixture(scope="module")
def url(sglang_imported: None) -> Iterator[str]:
    """The address of a runtime with the shipped SPRINT model."""
    from sprint_sgl.runtime.launcher import running_server

    with running_server() as server:
        yield server.url


@pytest.fixture
def endpoint(url: str) -> Iterator[Endpoint]:
    from sprint_sgl.runtime.launcher import connect

    with connect(url) as endpoint:
        yield endpoint


@pytest.fixture
def baseline(endpoint: Endpoint) -> Iterator[Endpoint]:
    """The same runtime with the sequential model's weights."""
    from sprint_sgl.runtime.launcher import DEFAULT_BASELINE
    from sprint_sgl.runtime.server import DEFAULT_MODEL, resolve_model

    endpoint.load_weights(resolve_model(DEFAULT_BASELINE))
    yield endpoint
    endpoint.load_weights(resolve_model(DEFAULT_MODEL))
