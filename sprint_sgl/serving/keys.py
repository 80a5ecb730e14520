"""Access control: bearer tokens, compared in constant time, and the origins whose pages may call the server."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from sprint_sgl.errors import BadInput

KEYS_VARIABLE = "SPRINT_SERVE_KEYS"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d{1,5})?")


def read_keys(variable: str | None, file: Path | None) -> tuple[str, ...]:
    """Return the keys of `variable`, separated by commas, and of `file`, one on each line.

    Raises BadInput for a file without keys and for a key that is not ASCII.
    """
    keys = [key.strip() for key in (variable or "").split(",")]
    if file:
        try:
            lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"the keys in {file} cannot be read: {error}") from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise BadInput(f"{file} contains no key: write one on each line")
        keys += found
    if any(not (key.isascii() and key.isprintable()) for key in keys):
        raise BadInput("a key has characters that an HTTP header cannot carry: use ASCII")
    return tuple(dict.fromkeys(key for key in keys if key))


def is_authorized(header: str | None, keys: Sequence[str]) -> bool:
    """Return whether the Authorization header carries one of the keys. Without keys everybody is authorized."""
    if not keys:
        return True
    scheme, _, given = (header or "").partition(" ")
    if scheme.lower() != "bearer":
        return False
    # All keys are compared, so that the time taken does not tell which one matched.
    return sum(hmac.compare_digest(given.strip().encode(), key.encode()) for key in keys) > 0


def check_origins(origins: Sequence[str]) -> None:
    """Raise BadInput for a string that no browser sends as the origin of a page."""
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise BadInput(f"{origin!r} is not an origin: give scheme, host and port, as https://example.org, or *")


def check_address(host: str, keys: Sequence[str]) -> None:
    """Raise BadInput if other machines can reach the address and there is no key."""
    if not keys and not is_loopback(host):
        raise BadInput(
            f"{host} can be reached by others: set {KEYS_VARIABLE} or give --key-file, or serve on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
