"""Files that ship with the code: folders of the checkout, or of this package if it was installed from a wheel."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CHECKOUT = None if (PACKAGE / "conf").is_dir() else PACKAGE.parent
HOME = CHECKOUT or PACKAGE
CONF = HOME / "conf"
MODELS = HOME / "models"


def conf_names(group: str) -> list[str]:
    """Return the names in a group of conf/, such as `runtime`, sorted."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def model_names() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(path.name for path in MODELS.glob("*") if (path / "config.json").is_file())
