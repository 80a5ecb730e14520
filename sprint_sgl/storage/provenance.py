"""Provenance of a run: package versions, commit, weights."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sprint_sgl.storage.files import file_digest
from sprint_sgl.storage.package_files import CHECKOUT

HUB_LIMIT = 10.0  # seconds


def package_versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Return the version of each package, or None if it is not installed."""
    return {name: _version(name) for name in packages}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the checkout's commit, with a + if files differ from it, or None outside a git checkout."""
    if CHECKOUT is None:
        return None
    try:
        words = ["git", "-C", str(CHECKOUT), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def hub_revision(model: str) -> str | None:
    """Return a model's commit on the hub, or of the local copy if the hub does not answer, or None."""
    import httpx
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return HfApi().model_info(model, timeout=HUB_LIMIT).sha
    except (HfHubHTTPError, OfflineModeIsEnabled, httpx.HTTPError):
        pass
    try:
        return Path(snapshot_download(model, local_files_only=True)).name
    except LocalEntryNotFoundError:
        return None


def weight_digests(model: Path) -> dict[str, str]:
    """Return the SHA-256 of each weight file in a folder; empty for a model on the hub."""
    return {path.name: file_digest(path) for path in sorted(model.glob("*.safetensors"))}
