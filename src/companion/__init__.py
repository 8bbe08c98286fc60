"""The companion of the book: what its notebooks import. Light to import; heavy libraries load when
used."""

import os
import sys

_command = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""  # noqa: PTH119
if _command in ("companion", "companion.exe") or (
    _command == "-m" and "companion" in sys.orig_argv
):
    # This is the command: Ctrl-C is met before anything else is loaded, even the module `signal`.
    import _signal

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(
            _signal.SIGINT,
            lambda *_: (os.write(2, b"Stopped. Nothing was changed.\n"), os._exit(1)),
        )

import logging  # noqa: E402

from companion.profile import Profile, profile  # noqa: E402

__all__ = ["Profile", "profile"]
# A program that wants to read the package's log gives it a handler; without one it is silent.
logging.getLogger(__name__).addHandler(logging.NullHandler())
__version__ = "0.2.0"
