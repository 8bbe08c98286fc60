"""Which Python, on what kind of machine, and whether the notebooks use it too."""

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from companion.door.tables import read_table
from companion.hub.environment import on_autodl, on_colab

from . import commands
from .finding import Finding, good, problem, warning
from .libraries import REQUIREMENTS
from .probe import ask


def check_python() -> list[Finding]:
    """Its version."""
    table = read_table(REQUIREMENTS)["python"]
    version = platform.python_version()
    where = "in no environment"
    if sys.prefix != sys.base_prefix:
        where = "in a virtual environment"
    elif os.environ.get("CONDA_PREFIX") == sys.prefix:
        where = f"in conda's environment {os.environ.get('CONDA_DEFAULT_ENV', sys.prefix)}"
    if sys.maxsize < 2**32:
        return [
            problem(
                "Python",
                f"{version}, a 32-bit build: there is no torch for it",
                "install a 64-bit Python from https://www.python.org/downloads/",
            )
        ]
    return [good("Python", f"{version} ({where}; the book is tested with {table['tested']})")]


def check_machine() -> list[Finding]:
    """Colab, AutoDL, or a machine of the reader's own."""
    kind = "Colab" if on_colab() else "AutoDL" if on_autodl() else "own machine"
    system = f"{platform.system()} {platform.machine()}"
    return [good("Machine", f"{kind}, {system}, {os.cpu_count()} processors")]


def check_kernel() -> list[Finding]:
    """That notebooks are run by this very Python."""
    kernel = _running_kernel()
    if kernel:
        return [_compare(kernel, "the notebook that called the doctor")]
    answer = ask("kernel")
    if answer.error:
        missing = "ModuleNotFoundError" in answer.error or "NoSuchKernel" in answer.error
        text = "Jupyter has none here" if missing else f"Jupyter does not answer: {answer.error}"
        remedy = commands.pip_install(["ipykernel", "jupyterlab"])
        return [warning("Kernel", text, remedy)]
    command = answer.facts["argv"][0]
    if not Path(command).is_absolute():
        return [_jupyter()]
    return [_compare(Path(command), "Jupyter's kernel python3", Path(answer.facts["folder"]))]


def _jupyter() -> Finding:
    """The kernel python3 is that of the environment that Jupyter is started from."""
    jupyter = shutil.which("jupyter")
    here = Path(sys.executable).parent
    if jupyter is None or Path(jupyter).parent == here:
        return good("Kernel", "notebooks run in this environment")
    return warning(
        "Kernel",
        f"`jupyter` is {jupyter}: its notebooks do not run in this environment",
        f"start it so: {commands.python()} -m jupyterlab",
    )


def _compare(kernel: Path, what: str, folder: Path | None = None) -> Finding:
    # The folder of the python, since one environment has several names for it.
    if kernel.parent == Path(sys.executable).parent:
        return good("Kernel", f"{what} runs in this environment")
    remedy = f"{commands.python()} -m ipykernel install --user --name diffusers-by-hand"
    where = f" (it says so in {folder})" if folder else ""
    return problem(
        "Kernel",
        f"{what} runs in another environment, {kernel.parent.parent}{where}",
        f"{remedy}, then choose the kernel diffusers-by-hand in the notebook",
    )


def _running_kernel() -> Path | None:
    """The Python of the notebook that called the doctor: here, or with `!companion doctor`."""
    ipython: Any = sys.modules.get("IPython")
    if ipython and hasattr(ipython.get_ipython(), "kernel"):  # called in the notebook itself
        return Path(sys.executable)
    pid = os.getpid()
    try:
        while pid > 1:
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            pid = int(status.rpartition(")")[2].split()[1])  # the parent
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if any(b"ipykernel" in part for part in command):
                return Path(os.fsdecode(command[0]))
    except (OSError, ValueError, IndexError):
        pass  # no /proc, as on a Mac
    return None
