"""Messages for people: lines on stderr, and errors as one line instead of a stack trace."""

from __future__ import annotations

import errno
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from sprint_sgl.errors import SprintError

PIPE_WIDTH = 120
NOTICE_AFTER = 2.0  # seconds of waiting before a line is printed
MACHINE_ERRORS = {  # errors of the file system, not bugs
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
}
_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
notes = Console(stderr=True)


def printable(text: str) -> str:
    """Return the text with control characters and lone surrogates replaced by visible characters."""
    return _CONTROL_CHARACTERS.sub(_picture, text.replace("\r\n", "\n"))


def _picture(found: re.Match[str]) -> str:
    return chr(0x2400 + ord(found[0])) if found[0] < " " else "\ufffd"


def say(text: str, style: str = "") -> None:
    """Print a line on stderr, without markup or wrapping."""
    print_plain(notes, text, style)


def print_plain(console: Console, text: str, style: str = "") -> None:
    """Print a line on a console, without markup or wrapping."""
    console.print(printable(text), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def screen() -> Console:
    """Return a console on standard output, as wide as the terminal, or PIPE_WIDTH in a pipe."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


@contextmanager
def wait_notice(doing: str) -> Iterator[None]:
    """Show on stderr what is going on: a spinner on a terminal, elsewhere a line after NOTICE_AFTER seconds."""
    if notes.is_terminal:
        with notes.status(doing):
            yield
        return
    notice = threading.Timer(NOTICE_AFTER, say, [doing])
    notice.daemon = True
    notice.start()
    try:
        yield
    finally:
        notice.cancel()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn expected errors inside the block into one line on stderr and an exit status.

    SprintError, and file system errors such as a full disk: status 1. Ctrl-C: 130. SIGTERM: 143, after every open
    `with` has ended. Any other exception is a bug and keeps its stack trace.
    """
    warnings.filterwarnings("ignore", message="Error in stream_executor")  # the program raises the error itself
    in_main = threading.current_thread() is threading.main_thread()  # other threads may not set handlers
    unwinds = in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if unwinds:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except SprintError as error:
        say(f"sprint-sgl: {error}", style="red")
        sys.exit(1)
    except OSError as error:
        if error.errno not in MACHINE_ERRORS:
            raise
        say(f"sprint-sgl: {f'{error.filename}: ' if error.filename else ''}{error.strerror}", style="red")
        sys.exit(1)
    except KeyboardInterrupt:
        say("sprint-sgl: stopped", style="red")
        sys.exit(130)
    finally:
        if unwinds:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
