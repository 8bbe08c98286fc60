"""The terminal as it comes: closed, full, without our signs; and how a command leaves it."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import select
import sys
import threading
import warnings
from pathlib import Path
from typing import NoReturn, TextIO

from . import stopping

PACKAGE = Path(__file__).parents[1]
_others = warnings.formatwarning


class Sink(io.FileIO):
    """A stream whose failure does not undo the work: after the first, all is dropped.

    Attributes:
        error: the first failure. That the reader of stdout is gone is raised too, once: nobody
            wants the rest.
    """

    error: OSError | None = None

    def write(self, data: io.ReadableBuffer) -> int:  # type: ignore[name-defined]
        """Write, or drop."""
        left = memoryview(data).cast("B")
        if self.error is None:
            try:
                while left:  # PYTHONUNBUFFERED asks once only, and a full disk takes a part
                    written = super().write(left)
                    if written is None:  # a full pipe that somebody has told not to wait
                        select.select([], [self], [])
                    left = left[written or 0 :]
            except OSError as error:
                self.error = error
                if isinstance(error, BrokenPipeError) and self.fileno() == 1:
                    raise
        return memoryview(data).nbytes


_output: Sink | None = None


def prepare() -> None:
    """Make the three streams safe to write to; what an encoding has not is written as its code."""
    global _output
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Closed: left so, the next file would get its number, and what libraries print.
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    sys.stdout, _output = _forgiving(sys.stdout)
    sys.stderr, _ = _forgiving(sys.stderr)
    sys.unraisablehook = _dropped
    warnings.formatwarning = _sentence


def output_is_lost() -> bool:
    """Whether something that was printed could not be written."""
    return _output is not None and _output.error is not None


def say(sentence: str) -> None:
    """Write a sentence to stderr, if anybody listens."""
    with contextlib.suppress(OSError, ValueError):
        print(sentence, file=sys.stderr, flush=True)


def leave(status: int) -> NoReturn:
    """Write what is still to be written, and exit; with 1 instead of 0 where that fails."""
    stopping.ignore()
    threads_left = threading.active_count() > 1
    if threads_left:
        atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    if _output is not None and _output.error is not None:
        status = status or 1
        if not isinstance(_output.error, BrokenPipeError):  # that is `companion zoo list | head`
            say(f"companion: What it printed could not be written ({_output.error.strerror}).")
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    if threads_left:
        # A thread that is still at work while Python takes itself apart can crash it.
        os._exit(status)
    raise SystemExit(status)


def _forgiving(stream: TextIO) -> tuple[TextIO, Sink | None]:
    if not isinstance(stream, io.TextIOWrapper):
        return stream, None
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO:  # the console of Windows
        stream.reconfigure(errors="backslashreplace")
        return stream, None
    sink = Sink(stream.fileno(), "w", closefd=False)
    under = sink if stream.write_through else io.BufferedWriter(sink)
    text = io.TextIOWrapper(
        under,  # as Python does when it is told not to buffer
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    return text, sink


def _sentence(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning of the package is for the reader; where in the code it arose is not."""
    if Path(filename).is_relative_to(PACKAGE) and issubclass(category, UserWarning):
        return f"companion: {message}\n"
    return _others(message, category, filename, lineno, line)


def _dropped(what: sys.UnraisableHookArgs) -> None:
    if isinstance(what.exc_value, stopping.Stopped):
        stopping.ask_again(what.exc_value.number)
    else:
        sys.__unraisablehook__(what)
