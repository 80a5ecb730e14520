"""Who may ask: bearer tokens, compared in constant time, and pages of which origins."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from sprint_sgl.errors import BadInput

KEYS_VARIABLE = "SPRINT_SERVE_KEYS"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d{1,5})?")


def read_keys(listed: str | None, file: Path | None) -> tuple[str, ...]:
    """Those of the variable, between commas, and of the file, one a line.

    Raises BadInput for a file without any, and for a key that is not ASCII.
    """
    keys = [key.strip() for key in (listed or "").split(",")]
    if file:
        try:
            lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"the keys in {file} cannot be read: {error}") from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise BadInput(f"{file} holds no key: write one on each line")
        keys += found
    if any(not (key.isascii() and key.isprintable()) for key in keys):
        raise BadInput("a key has characters that no HTTP header can carry: use ASCII")
    return tuple(dict.fromkeys(key for key in keys if key))


def is_authorized(header: str | None, keys: Sequence[str]) -> bool:
    """Whether the Authorization header carries one of the keys; without keys everybody is allowed."""
    if not keys:
        return True
    scheme, _, given = (header or "").partition(" ")
    if scheme.lower() != "bearer":
        return False
    # All are compared, so that the time taken says nothing about which one was close.
    return sum(hmac.compare_digest(given.strip().encode(), key.encode()) for key in keys) > 0


def check_origins(origins: Sequence[str]) -> None:
    """Raises BadInput for what no browser sends as the origin of a page."""
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise BadInput(f"{origin!r} is no origin: give scheme, host and port only, as https://example.org, or *")


def check_address(host: str, keys: Sequence[str]) -> None:
    """Refuses to serve others without a key. Raises BadInput."""
    if not keys and not is_loopback(host):
        raise BadInput(
            f"{host} can be reached by others: set {KEYS_VARIABLE} or give --key-file, or serve on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
