"""What a run was made by: models on the hub by their commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from sprint_sgl.storage.provenance import hub_revision


def test_a_hub_model_is_known_by_the_commit_of_this_machines_copy_where_the_hub_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    copy = tmp_path / "models--org--name"
    (copy / "snapshots" / commit).mkdir(parents=True)
    (copy / "refs").mkdir()
    (copy / "refs" / "main").write_text(commit)
    assert hub_revision("org/name") == commit
    assert hub_revision("org/other") is None
