"""Pack what a machine that is lent for minutes, without network, needs to run tools/gpu_run.py.

    python tools/pack_gpu_run.py list.txt pack       # list.txt: what `pip list` says there
    bash pack/run.sh RESULTS                         # there: unpacks, installs aside, runs

The machine has torch with CUDA, and more or less of the rest. What is missing is downloaded here as
wheels for its Python, without what it has; the repository travels as one archive without what the
run does not read. `tools/gpu_pack.toml` says which. A pack over the limit is refused, with what
takes most.
"""

import argparse
import fnmatch
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20
RUN = """#!/usr/bin/env bash
# Unpacks what tools/pack_gpu_run.py packed, installs the wheels aside and runs tools/gpu_run.py.
#   bash run.sh RESULTS [arguments of gpu_run.py]
# PYTHON names the Python that has torch; SITE and TREE are where wheels and repository go.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
results=$(mkdir -p "$1" && cd "$1" && pwd)
shift
site=${SITE:-/tmp/gpu-run/site} tree=${TREE:-/tmp/gpu-run/tree} python=${PYTHON:-python3}
if [ ! -e "$tree/.unpacked" ]; then
  mkdir -p "$site" "$tree"
  tar -xJf "$here/tree.tar.xz" -C "$tree"
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade \\
    --target "$site" "$here"/wheels/*.whl
  mkdir -p "$site/bin"  # the command that the firewall page types
  printf '#!/bin/sh\\nexec "%s" -m companion "$@"\\n' "$(command -v "$python")" \\
    > "$site/bin/companion"
  chmod +x "$site/bin/companion"
  touch "$tree/.unpacked"
fi
# Results of earlier runs, so that only the rest is done.
for file in "$tree"/benchmarks/results/*.json; do
  [ ! -e "$file" ] || [ -e "$results/$(basename "$file")" ] || cp "$file" "$results/"
done
export PYTHONPATH="$site:$tree/tools/stand_ins${PYTHONPATH:+:$PYTHONPATH}"
export PATH="$site/bin:$PATH"
cd "$tree"
exec "$python" tools/gpu_run.py --results "$results" "$@"
"""


@dataclass(frozen=True)
class Target:
    """The machine.

    Attributes:
        python: such as "3.12".
        newest_glibc: N of the machine's glibc 2.N, which says what wheels it takes.
        packages: what is there, by canonical name; the version where the list says it.
    """

    python: str
    newest_glibc: int
    packages: dict[str, Version | None]

    @property
    def platforms(self) -> list[str]:
        """The tags of wheels that it takes."""
        numbered = [f"manylinux_2_{n}_x86_64" for n in range(self.newest_glibc, 4, -1)]
        return [*numbered, "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]

    def has(self, need: Requirement) -> bool:
        """Whether it has what is needed; a version that the list does not say is taken to do."""
        name = canonicalize_name(need.name)
        if name not in self.packages:
            return False
        version = self.packages[name]
        return version is None or need.specifier.contains(version, prereleases=True)


def listed(text: str) -> dict[str, Version | None]:
    """The packages of a list: `name==version` or `name version` or names alone, one a line or with
    commas between them."""
    found: dict[str, Version | None] = {}
    for line in re.split(r"[\n,]", text):
        line = line.split("#")[0].strip().rstrip(".")
        match = re.fullmatch(r"([A-Za-z0-9][\w.-]*)(?:\s*(?:==|\s)\s*(\S+))?.*", line)
        if not match or set(line) <= set("- "):
            continue
        try:
            version = Version(match[2].split("+")[0]) if match[2] else None
        except InvalidVersion:
            continue  # a heading
        name = canonicalize_name(match[1])
        found[name] = version or found.get(name)
    return found


def needs_of(wheel: Path) -> list[Requirement]:
    """What a wheel says that it requires."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        message = Parser().parsestr(archive.read(name).decode())
    return [Requirement(text) for text in message.get_all("Requires-Dist") or []]


def applies(need: Requirement, python: str) -> bool:
    """Whether a requirement holds on Linux with that Python, without extras."""
    if need.marker is None:
        return True
    environment: dict[str, Any] = {**default_environment(), "extra": ""}
    environment |= {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return bool(need.marker.evaluate(environment))


def download(need: Requirement, target: Target, wheels: Path, pins: dict[str, str]) -> Path:
    """One wheel, without what it needs.

    Raises:
        RuntimeError: pip finds none.
    """
    name = canonicalize_name(need.name)
    wanted = str(need.specifier)
    # The tested version, where the machine's other packages leave it open.
    if name in pins and need.specifier.contains(pins[name], prereleases=True):
        wanted = f"=={pins[name]}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", target.python, "--implementation", "cp"]
    for platform in target.platforms:
        command += ["--platform", platform]
    before = set(wheels.glob("*.whl"))
    answer = subprocess.run(
        [*command, "--dest", str(wheels), f"{need.name}{wanted}"], capture_output=True, text=True
    )
    new = set(wheels.glob("*.whl")) - before
    if answer.returncode or not new:
        last = answer.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
        raise RuntimeError(f"No wheel of {need.name}{wanted} for {target.python}: {last[0]}")
    return new.pop()


def gather(target: Target, wheels: Path, settings: dict[str, Any]) -> list[str]:
    """Download all that is missing, and what that needs in turn.

    Returns:
        What the machine has in a version that does not fit: that comes along, and is used.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tests = {
        canonicalize_name(need.name): need
        for text in project["optional-dependencies"]["test"]
        for need in [Requirement(text)]
    }
    pins = dict(
        line.split(";")[0].strip().split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    )
    pins = {canonicalize_name(name): version.strip() for name, version in pins.items()}
    never = {canonicalize_name(name) for name in settings["never"]}
    waiting = [
        need
        for name in settings["packages"]
        for need in (
            map(Requirement, project["dependencies"])
            if name == "companion"
            else [tests.get(canonicalize_name(name), Requirement(name))]
        )
    ]
    done: set[str] = set()
    replaced: list[str] = []
    while waiting:
        need = waiting.pop(0)
        name = canonicalize_name(need.name)
        if name in done or name in never or not applies(need, target.python) or target.has(need):
            continue
        done.add(name)
        if name in target.packages:
            replaced.append(f"{name} {target.packages[name]} ({need.specifier} is needed)")
        wheel = download(need, target, wheels, pins)
        waiting += needs_of(wheel)
    for text in settings["alone"]:
        # Pure Python, of which only the source is published: built here.
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        subprocess.run([*command, "--wheel-dir", str(wheels), text], check=True)
    return replaced


def pack_tree(archive: Path, leave_out: Sequence[str]) -> None:
    """All files that git knows, without some, as one archive."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for name in filter(None, listing.stdout.split("\0")):
            left_out = any(fnmatch.fnmatch(name, pattern) for pattern in leave_out)
            if not left_out and (ROOT / name).is_file():
                packed.add(ROOT / name, arcname=name, recursive=False)


def check_size(folder: Path, limit: int) -> int:
    """The bytes of a folder.

    Raises:
        RuntimeError: they are more than the limit; the sentence says what takes most.
    """
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    total = sum(sizes.values())
    if total > limit:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:6]
        told = ", ".join(f"{path.name} {sizes[path] / MIB:.1f}" for path in largest)
        raise RuntimeError(
            f"The pack has {total / MIB:.1f} MiB, more than {limit / MIB:.0f}; most take: {told}. "
            f"Leave something out in tools/gpu_pack.toml, or raise --limit."
        )
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack, and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("list", type=Path, help="what `pip list` says there, or names alone")
    parser.add_argument("pack", type=Path, help="folder to make; one that is there is replaced")
    parser.add_argument("--python", default="3.12", help="of the machine; default: %(default)s")
    parser.add_argument(
        "--glibc", type=int, default=39, help="2.N of the machine; default: 2.%(default)s"
    )
    parser.add_argument("--limit", type=float, default=64, help="MiB; default: %(default)g")
    options = parser.parse_args(arguments)
    settings = tomllib.loads((ROOT / "tools" / "gpu_pack.toml").read_text(encoding="utf-8"))
    target = Target(options.python, options.glibc, listed(options.list.read_text(encoding="utf-8")))
    if "torch" not in target.packages:
        parser.error(f"{options.list.name} does not name torch, which is too large to carry")
    if options.pack.exists() and not (options.pack / "run.sh").is_file():
        parser.error(f"{options.pack} is there and is no pack: name another folder")
    shutil.rmtree(options.pack, ignore_errors=True)
    wheels = options.pack / "wheels"
    wheels.mkdir(parents=True)
    try:
        replaced = gather(target, wheels, settings)
        pack_tree(options.pack / "tree.tar.xz", settings["leave_out"])
        (options.pack / "run.sh").write_text(RUN, encoding="utf-8")
        total = check_size(options.pack, int(options.limit * MIB))
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    names = sorted(path.name.split("-")[0] for path in wheels.glob("*.whl"))
    print(f"{total / MIB:.1f} MiB: {len(names)} wheels ({', '.join(names)}) and the repository")
    for text in replaced:
        print(f"instead of what is there: {text}")
    print(f"there: bash {options.pack.name}/run.sh RESULTS")
    return 0


if __name__ == "__main__":
    sys.exit(main())
