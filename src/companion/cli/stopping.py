"""Ctrl-C, `kill` and a terminal that is closed: one sentence, from a command's first moment on."""

import contextlib
import os
import signal
from types import FrameType

NOTHING_CHANGED = "Stopped. Nothing was changed."
# A run that is killed by its scheduler, or whose terminal goes, cleans up as with Ctrl-C.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in dir(signal)
]

_sentence = NOTHING_CHANGED
_asked = False


class Stopped(KeyboardInterrupt):
    """Somebody stops the command.

    Attributes:
        number: the signal's.
        status: the exit status that says so: 1 after Ctrl-C, 128 and the signal's number otherwise.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.status = _status(number)


def listen() -> None:
    """Take the signals from here on; those that are ignored, as under nohup, stay ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def ignore() -> None:
    """The work is done and the exit status decided: a signal changes nothing any more."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def say_when_stopped(sentence: str) -> None:
    """What a stop that cannot wait for the command says."""
    global _sentence
    _sentence = sentence


def ask_again(number: int) -> None:
    """The first stop was lost in a destructor, where Python drops what is raised."""
    import threading

    global _asked
    _asked = False
    # To the main thread, so that it wakes where it waits; Windows knows only the process.
    send = getattr(signal, "pthread_kill", None)
    again = (send, [threading.get_ident(), number]) if send else (signal.raise_signal, [number])
    threading.Timer(0.1, *again).start()


def _stop(number: int, frame: FrameType | None) -> None:
    global _asked
    # Half of a library cannot be gone on with, and raising there ends in its words, not in ours.
    # And where no frame is left, at Python's own end, nobody catches it.
    if _asked or frame is None or _importing(frame):
        leave_at_once(number)
    _asked = True
    raise Stopped(number)


def leave_at_once(number: int) -> None:
    """End here and now; nothing is flushed, no thread waited for."""
    with contextlib.suppress(OSError):  # nobody listens
        os.write(2, f"{_sentence}\n".encode(errors="replace"))
    os._exit(_status(number))


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _status(number: int) -> int:
    return 1 if number == signal.SIGINT else 128 + number
