"""Write constraints.txt: the versions that a fresh install of pyproject.toml resolves to.

    python tools/freeze.py
    python tools/freeze.py --requirements   # only what the doctor takes from it

torch stays at the version that constraints.txt names (its newer builds for Linux bring
several GB of CUDA packages); edit that line first to move it.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
# The part of it that the doctor needs: constraints.txt is not in the wheel.
REQUIREMENTS = ROOT / "src" / "companion" / "doctor" / "requirements.toml"
# Held back, so that 3.11 means any 3.11: soupsieve 3 asks for 3.11.5, Debian 12 has 3.11.2.
HELD = ["soupsieve<3"]
# Installed without its own pins, which are of 2023 (see pyproject.toml, extra `daam`).
WITHOUT_DEPENDENCIES = "daam==0.2.0"
HEADER = """\
# The exact versions that CI, `make` and environment.yml install.
# Written by `make constraints`: edit pyproject.toml, or torch's line below, and run it again.
"""


def pinned_torch(text: str) -> str:
    """Give torch's line of the constraints in force."""
    found = re.search(r"^torch==\S+", text, flags=re.MULTILINE)
    if not found:
        raise SystemExit("constraints.txt has no line 'torch==VERSION': add one first.")
    return found.group()


def freeze() -> list[str]:
    """Install into a throwaway environment and list what came."""
    torch = pinned_torch(CONSTRAINTS.read_text())
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        pin = Path(folder) / "torch.txt"
        pin.write_text("\n".join([torch, *HELD]) + "\n")
        install = [python, "-m", "pip", "install", "--quiet", "-c", str(pin)]
        subprocess.run([*install, f"{ROOT}[book,daam,test]"], check=True)
        subprocess.run([*install, "--no-deps", WITHOUT_DEPENDENCIES], check=True)
        frozen = [python, "-m", "pip", "freeze", "--all"]
        lines = subprocess.run(frozen, check=True, capture_output=True, text=True).stdout
    # The project itself and pip are no dependencies; "+cpu" names a build that other machines lack.
    named = [line for line in lines.splitlines() if "==" in line and not line.startswith("pip==")]
    return sorted((re.sub(r"\+.*$", "", line) for line in named), key=str.lower)


def requirements(declaration: str, constraints: str) -> str:
    """Give the text of requirements.toml: ranges of pyproject.toml, versions of constraints.txt."""
    project = tomllib.loads(declaration)["project"]
    tested = dict(line.split("==") for line in constraints.splitlines() if "==" in line)
    lines = [
        "# What the book needs and what its outputs were made with; the doctor compares with it.",
        "# Written by `make constraints` (or `python tools/freeze.py --requirements`).",
        "",
        "[python]",
        f'range = "{project["requires-python"]}"',
        'tested = "3.11"',
        "",
        "[packages]",
    ]
    for requirement in project["dependencies"]:
        name, versions = re.fullmatch(r"([\w.-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        lines.append(f'{name} = {{ range = "{versions}", tested = "{tested[name]}" }}')
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the files."""
    if sys.argv[1:] != ["--requirements"]:
        lines = freeze()
        CONSTRAINTS.write_text(HEADER + "\n".join(lines) + "\n")
        print(f"{len(lines)} versions written to {CONSTRAINTS.name}", file=sys.stderr)
    declaration = (ROOT / "pyproject.toml").read_text()
    REQUIREMENTS.write_text(requirements(declaration, CONSTRAINTS.read_text()))


if __name__ == "__main__":
    main()
