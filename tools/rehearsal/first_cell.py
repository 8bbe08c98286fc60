"""Run a chapter's first cell in a kernel, start the kernel again, and see whether it is the same.

    python first_cell.py NOTEBOOK PACKAGE ...

Runs in the environment of the rehearsal. Packages are those that must stay as they are, beside
all that a fresh kernel has loaded. Ends with a sentence and 1 where the reader would lose the
machine.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

STARTS_WITHIN = 120  # seconds, on a busy machine
INSTALLS_WITHIN = 1200

# Asked in the kernel itself: what is installed, and which of it is loaded.
LOADED = """
import importlib.metadata, json, sys
roots = {name.partition(".")[0] for name in sys.modules}
owners = importlib.metadata.packages_distributions()
print(json.dumps(sorted({owner for root in roots for owner in owners.get(root, [])})))
"""
VERSIONS = """
import importlib.metadata, json
print(json.dumps({{
    name: next((d.version for d in importlib.metadata.distributions(name=name)), "none")
    for name in {names!r}
}}))
"""
COMPANION = "import companion; print(companion.__version__, companion.__file__)"


class Fault(Exception):
    """What a reader would meet on this machine."""


def run(client: BlockingKernelClient, code: str) -> str:
    """Run code in the kernel and give what it prints; a cell that fails is a fault."""
    printed: list[str] = []

    def note(message: dict[str, Any]) -> None:
        content = message["content"]
        printed.append(content.get("text", "") or "\n".join(content.get("traceback", [])))

    reply = client.execute_interactive(code, output_hook=note, timeout=INSTALLS_WITHIN)
    if reply["content"]["status"] != "ok":
        raise Fault("the cell fails:\n" + "".join(printed))
    return "".join(printed)


def restart(manager: KernelManager, client: BlockingKernelClient) -> None:
    """Start the kernel again, as Colab's "Restart session" does."""
    manager.restart_kernel(now=True)
    try:
        client.wait_for_ready(timeout=STARTS_WITHIN)
    except RuntimeError as error:
        raise Fault(f"the kernel does not start again: {error}") from None


def replaced(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Name what has another version now."""
    return [
        f"{name} {version} became {after[name]}"
        for name, version in before.items()
        if after[name] != version
    ]


def rehearse(cell: str, protected: list[str]) -> str:
    """Run the cell, restart, and say what companion is there; raise a Fault where one is met."""
    manager, client = start_new_kernel(startup_timeout=STARTS_WITHIN, kernel_name="python3")
    try:
        names = sorted({*protected, *json.loads(run(client, LOADED))})
        ask = VERSIONS.format(names=names)
        before = json.loads(run(client, ask))
        missing = [name for name in protected if before[name] == "none"]
        if missing:
            raise Fault(f"the rehearsal's own list lacks {', '.join(missing)}")
        print(run(client, cell), end="")
        restart(manager, client)
        changed = replaced(before, json.loads(run(client, ask)))
        if changed:
            raise Fault("the first cell replaces what the kernel has loaded: " + ", ".join(changed))
        version, path = run(client, COMPANION).split(maxsplit=1)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return f"the kernel starts again, {len(names)} packages are as they were; companion {version}, {path}"


def first_cell(notebook: Path) -> str:
    """Give the code of a notebook's first cell of code."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def main() -> None:
    """Read the command line and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE")
    args = parser.parse_args()
    try:
        print(rehearse(first_cell(args.notebook), args.packages).strip())
    except Fault as fault:
        sys.exit(f"Rehearsal failed: {fault}")


if __name__ == "__main__":
    main()
