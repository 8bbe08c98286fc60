"""What went wrong, as one sentence."""

import errno
import os

from companion.door.text import printable, without_password


def sentence(error: Exception) -> str:
    """What is wrong, and what to do, in one line without control codes or passwords."""
    return printable(without_password(" ".join(_told(error).split())))


def is_expected(error: Exception) -> bool:
    """Whether it is a fault of the input or of the machine; all else is one of the program."""
    return isinstance(
        error, (ValueError, OSError, RuntimeError, FloatingPointError, MemoryError, ImportError)
    ) and not isinstance(error, RecursionError)


def _told(error: Exception) -> str:
    said = str(error)
    if isinstance(error, MemoryError):
        return (
            f"There is not enough memory for this ({said or 'MemoryError'}): ask for less, or "
            "close other programs."
        )
    if isinstance(error, ImportError):
        library = (error.name or "A library").split(".")[0]
        return f"{library} cannot be imported ({said}): `companion doctor` says how to mend it."
    if isinstance(error, UnicodeEncodeError):
        return f"A name or a text holds bytes that are no text ({error}): write or name it anew."
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name]
        where = f": {' and '.join(names)}" if names else ""
        room = "; make room there, then run it again" if error.errno == errno.ENOSPC else ""
        return f"{error.strerror}{where}{room}."
    if not is_expected(error):
        return (
            f"This is a fault of the program ({type(error).__name__}: {said}): please report it, "
            "with what `companion doctor --report` prints, and the same command under "
            "PYTHONDEVMODE=1."
        )
    return said or type(error).__name__
