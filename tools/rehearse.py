"""Rehearse what a reader does on Colab or AutoDL: the first cell, a restart, every chapter.

    python tools/rehearse.py colab
    python tools/rehearse.py colab --take CHECKOUT   # a newer list, from a clone of its source

An environment gets the versions of tools/rehearsal/NAME.txt. The wheel is built and offered to its
pip as an index would. Then the first cell runs in a kernel there, the kernel starts again, and
`pytest --nbval book/` runs every chapter. Nothing is reached but the package index that pip is set
to. torch comes with CUDA from there, so it takes about 10 GB of disk; `make clean` gives them back.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LISTS = ROOT / "tools" / "rehearsal"
MACHINES = LISTS / "machines.toml"
FIRST = ROOT / "book" / "01_start.ipynb"
# What runs the chapters there; it must not move any of the list's versions.
EQUIPMENT = ["nbval==0.11.*", "pytest-xdist>=3.5"]
PROCESSES = os.environ.get("PROCESSES", "2")


def machines() -> dict[str, dict[str, Any]]:
    """Give the machines by name."""
    return tomllib.loads(MACHINES.read_text(encoding="utf-8"))


def say(text: str) -> None:
    """Name the next step."""
    print(f"==> {text}", flush=True)


def step(arguments: Sequence[str | Path], environment: dict[str, str]) -> None:
    """Run a command in the checkout; where it fails, the rehearsal ends."""
    done = subprocess.run(arguments, cwd=ROOT, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"The rehearsal ends at: {' '.join(map(str, arguments[:6]))} ...")


def interpreter(version: str) -> str:
    """Find that Python, or take the one that runs here and say so."""
    found = shutil.which(f"python{version}")
    # pyenv has a program of that name for versions that are not chosen here: it only says so.
    if found and not subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
        return found
    here = ".".join(map(str, sys.version_info[:2]))
    if here != version:
        say(f"there is no python{version} here: rehearsing with {here}")
    return sys.executable


@contextmanager
def folder_of_the_machine(name: str | None) -> Iterator[None]:
    """Make the folder by which a machine is known, and take it away again if it was not there."""
    if name is None:
        yield
        return
    try:
        Path(name).mkdir()
    except FileExistsError:
        yield
        return
    except OSError as error:
        raise SystemExit(
            f"This machine is known by {name}, which cannot be made here ({error.strerror}): "
            "rehearse as root, best in a container."
        ) from None
    try:
        yield
    finally:
        shutil.rmtree(name, ignore_errors=True)


def rehearse(name: str, machine: dict[str, Any]) -> None:
    """Install the machine's versions, run the first cell, restart, run the chapters."""
    room = ROOT / ".rehearsal" / name
    shutil.rmtree(room, ignore_errors=True)
    index = room / "index"
    index.mkdir(parents=True)
    environment = os.environ | {
        **machine.get("environment", {}),
        "HF_HOME": str(room / "huggingface"),
        "GIT_ALLOW_PROTOCOL": "file",  # no GitHub: a clone would fail
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} {index.as_uri()}".strip(),
    }
    versions = LISTS / f"{name}.txt"
    python = room / "venv" / "bin" / "python"
    say(f"making {name}'s environment from tools/rehearsal/{versions.name} (minutes)")
    step([interpreter(machine["python"]), "-m", "venv", room / "venv"], environment)
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
    pinned = [line for line in versions.read_text().splitlines() if line.startswith("pip==")]
    step([*pip, *(pinned or ["pip"])], environment)
    step([*pip, "-r", versions, *EQUIPMENT], environment)
    say("building the wheel")
    wheel: list[str | Path] = [python, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    step([*wheel, "--wheel-dir", index, ROOT], environment)
    with folder_of_the_machine(machine.get("folder")):
        say("running the first cell, and starting the kernel again")
        step([python, LISTS / "first_cell.py", FIRST, *machine["loaded"]], environment)
        say("running every chapter against its stored outputs")
        pytest = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-n", PROCESSES]
        step([*pytest, "--nbval", "book/"], environment)
    say(f"{name}: all is well")


def take(name: str, checkout: Path, known: dict[str, str]) -> None:
    """Write NAME.txt anew with the versions of a clone of its source."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(checkout), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def key(package: str) -> str:
        return re.sub(r"[-_.]+", "-", package).lower()

    listed = {
        key(found[1]): f"{found[1]}=={found[2]}"
        for line in git("show", f"HEAD:{known['list']}").splitlines()
        if (found := re.match(r"([\w.-]+)==([^+\s]+)", line))
    }
    path = LISTS / f"{name}.txt"
    lines = path.read_text().splitlines()
    names = [line.partition("==")[0] for line in lines if line and line[0] != "#"]
    gone = [package for package in names if key(package) not in listed]
    commit, date = git("log", "-1", "--format=%H %cs").split()
    header = "\n".join(line for line in lines if line.startswith("#"))
    header = re.sub(r"commit \w+ of [\d-]+", f"commit {commit} of {date}", header)
    kept = [listed[key(package)] for package in names if package not in gone]
    path.write_text("\n".join([header, *kept]) + "\n")
    print(
        f"{len(kept)} versions of {date} written to {path.name}; no longer listed: {gone or 'none'}"
    )
    system = re.search(r"Python (3\.\d+)", git("show", f"HEAD:{known['system']}"))
    if system and system[1] != machines()[name]["python"]:
        print(f"It has Python {system[1]} now: write that into {MACHINES.name}.")


def main() -> None:
    """Read the command line."""
    known = machines()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("machine", choices=known)
    parser.add_argument("--take", metavar="CHECKOUT", type=Path)
    args = parser.parse_args()
    machine = known[args.machine]
    if args.take is None:
        rehearse(args.machine, machine)
    elif "checkout" in machine:
        take(args.machine, args.take, machine["checkout"])
    else:
        parser.error(f"{args.machine} publishes no list: edit {args.machine}.txt by hand")


if __name__ == "__main__":
    main()
