"""The commands that remedies name, as they are typed on this machine."""

import shlex
import shutil
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path


def python() -> str:
    """What starts this very Python."""
    found = shutil.which("python")
    # Not resolved: the python of a virtual environment is a link to the one it was made from.
    if found and Path(found).parent == Path(sys.executable).parent:
        return "python"
    return shlex.quote(sys.executable)


def pip_install(requirements: Iterable[str], *options: str) -> str:
    """What installs into this very Python."""
    return " ".join([_pip("install"), *options, *(shlex.quote(r) for r in requirements)])


def pip_uninstall(package: str) -> str:
    """What removes a package from this very Python."""
    return f"{_pip('uninstall')} {package}"


def _pip(action: str) -> str:
    # importlib.util.find_spec would tell setuptools, which then takes from torch its compiler.
    if PathFinder.find_spec("pip"):
        yes = " -y" if action == "uninstall" else ""
        return f"{python()} -m pip {action}{yes}"
    return f"uv pip {action} --python {shlex.quote(sys.executable)}"
