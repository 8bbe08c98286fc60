"""This machine made to lack, and to refuse, what Windows does: for a process that a test starts.

It shows what the package asks of the system and what it does without an answer. What only Windows
does (its own locks, devices, code pages, long paths) it cannot show."""

import builtins
import errno
import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess  # noqa: F401  what is imported before has what it needs of the real machine
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "readline", "syslog")
FUNCTIONS = (
    *("fork", "getuid", "geteuid", "getgid", "getegid", "getgroups", "killpg", "setsid", "mkfifo"),
    *("fchmod", "chown", "getloadavg", "sched_getaffinity", "uname", "nice", "wait", "WNOHANG"),
    *("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY"),
)
SIGNALS = ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "pthread_kill")
OURS = ("companion", "test", "conftest", "faulty_hub", "needs")


def lack() -> None:
    """Take away what is not there. What is not ours keeps what its Linux edition needs."""
    importlib.import_module("fcntl")
    _without_modules()
    _without(os, FUNCTIONS)
    _without(signal, SIGNALS)
    multiprocessing.get_all_start_methods = lambda: ["spawn"]  # type: ignore[assignment]
    # A file's text is in the code page of the country, unless one says which encoding.
    warnings.filterwarnings("error", category=EncodingWarning, module=r"companion\b")


def refuse() -> None:
    """Refuse what is not done there."""
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # rmtree by names, as there
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # type: ignore[misc,assignment]  # as there
    os.open = _open  # type: ignore[assignment]
    os.fsync = _fsync
    os.symlink = _symlink
    for name in ("replace", "rename", "unlink", "remove", "rmdir"):
        setattr(os, name, _refusing_what_is_open(getattr(os, name)))
    multiprocessing.set_start_method("spawn")


def _ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(OURS)


def _without(module: ModuleType, names: Iterable[str]) -> None:
    kept = {name: vars(module).pop(name) for name in names if name in vars(module)}

    def look(name: str) -> Any:
        if name in kept and not _ours(sys._getframe(1)):
            return kept[name]
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    module.__getattr__ = look  # type: ignore[method-assign]


def _without_modules() -> None:
    real = builtins.__import__

    def look(name: str, globals: Any = None, *rest: Any, **more: Any) -> ModuleType:
        if name in MODULES and _ours(sys._getframe(1)):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, globals, *rest, **more)

    builtins.__import__ = look


def _open(path: Any, *rest: Any, _real: Callable[..., int] = os.open, **more: Any) -> int:
    if not isinstance(path, int) and Path(path).is_dir():
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return _real(path, *rest, **more)


def _fsync(file: Any, _real: Callable[[int], None] = os.fsync) -> None:
    fcntl = sys.modules["fcntl"]
    number = file if isinstance(file, int) else file.fileno()
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    _real(number)


def _symlink(*paths: Any, **more: Any) -> None:
    raise OSError(errno.EPERM, "A required privilege is not held by the client")


def _refusing_what_is_open(real: Callable[..., None]) -> Callable[..., None]:
    def wrapped(*paths: Any, **more: Any) -> None:
        for path in paths:
            place = os.path.realpath(os.fsdecode(path))
            for file in held():
                if file == place or file.startswith(place + os.sep):
                    raise PermissionError(errno.EACCES, f"{file} is in use", str(path))
        real(*paths, **more)

    return wrapped


def held() -> set[str]:
    """The files that this process has open or mapped."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(link.readlink()))
        except OSError:  # the listing's own
            continue
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    found |= {line[line.index("/") :] for line in maps.splitlines() if "/" in line}
    return found


if __name__ == "__main__":
    lack()
    refuse()
    sys.argv = sys.argv[1:]
    from companion.cli import main

    main()
