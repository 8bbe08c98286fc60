"""What the package tells of its work (`logging`), as the command shows it.

A notice is printed as it is. `--verbose` shows the details too, on stderr, with the seconds since
the start and the module; no other library's log is touched."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from companion.door.text import printable, without_password


@contextmanager
def shown(verbose: bool) -> Iterator[None]:
    """Show the package's log within."""
    logger, handler = logging.getLogger("companion"), _Terminal()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


class _Terminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; the package's own texts have no secrets, this is for those of others."""
        text = printable(without_password(record.getMessage()))
        with _bars_aside():
            if record.levelno >= logging.WARNING:
                print(f"companion: {text}", file=sys.stderr)
            elif record.levelno >= logging.INFO:
                print(text)
            else:
                where = record.name.removeprefix("companion.")
                print(f"{record.relativeCreated / 1000:6.2f} s  {where}: {text}", file=sys.stderr)


def _bars_aside() -> Any:
    """While a line is written, progress bars, if there are any, make room for it."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)  # if its import has come that far
    return tqdm.external_write_mode(file=sys.stderr) if tqdm else nullcontext()
