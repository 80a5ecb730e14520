"""What every entry point does with an error that a person can mend."""

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
NOTICE_AFTER = 2.0  # seconds after which a wait is worth a line
MACHINE_ERRORS = {  # what the machine refuses, whatever we do
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
}
_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
notes = Console(stderr=True)


def printable(text: str) -> str:
    """The text without what a terminal would obey or cannot take: control characters become their pictures."""
    return _CONTROL_CHARACTERS.sub(_picture, text.replace("\r\n", "\n"))


def _picture(found: re.Match[str]) -> str:
    return chr(0x2400 + ord(found[0])) if found[0] < " " else "\ufffd"


def say(text: str, style: str = "") -> None:
    """A line on stderr, as long as it is and as it stands: no markup, no wrapping."""
    print_plain(notes, text, style)


def print_plain(console: Console, text: str, style: str = "") -> None:
    """The same on any console."""
    console.print(printable(text), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def screen() -> Console:
    """Standard output: as wide as the terminal, or wide enough for our tables in a pipe."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


@contextmanager
def wait_notice(doing: str) -> Iterator[None]:
    """Says on stderr what is waited for: while it lasts on a terminal, as a line elsewhere if it takes a moment."""
    if notes.is_terminal:
        with notes.status(doing):
            yield
        return
    said = threading.Timer(NOTICE_AFTER, say, [doing])
    said.daemon = True
    said.start()
    try:
        yield
    finally:
        said.cancel()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A SprintError is one message on stderr and exit status 1; Ctrl-C is 130. Others are bugs and show their trace.

    So is what the machine refuses, such as a full disk or a file that must not be read.
    SIGTERM (143), too, ends the process by way of every `with` that is open.
    """
    warnings.filterwarnings("ignore", message="Error in stream_executor")  # a Program raises it
    in_main = threading.current_thread() is threading.main_thread()  # others may set no handler
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
