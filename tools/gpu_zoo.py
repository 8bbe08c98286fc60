"""Train the models of the zoo on a GPU for some minutes, in turns, each going on where it was.

    python tools/gpu_zoo.py --minutes 60           # make gpu-zoo MINUTES=60
    python tools/gpu_zoo.py --minutes 20 ddpm      # one of them

The time goes to the models in the order in which they need each other; one that is trained gives
what it did not use to the next. The package's own weights stay as they are: a model that came out
better is taken in by `tools/adopt_model.py`.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from companion.recipes.recipe import recipe_names


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; the status is that of the first training that failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="*", help=f"of {', '.join(recipe_names())}; default: all")
    parser.add_argument("--minutes", type=float, required=True, help="for all of them together")
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    names = options.models or list(recipe_names())
    if unknown := set(names) - set(recipe_names()):
        parser.error(
            f"no recipe makes {sorted(unknown)[0]!r}: choose of {', '.join(recipe_names())}"
        )
    end = time.monotonic() + 60 * options.minutes
    for number, name in enumerate(names):
        share = (end - time.monotonic()) / 60 / (len(names) - number)
        if share <= 0:
            print(f"no time is left for {', '.join(names[number:])}: run it again")
            break
        print(f"==> {name}, {share:.1f} minutes", flush=True)
        command = [sys.executable, "-m", "companion", "zoo", "train", name]
        command += ["--device", options.device, "--minutes", f"{share:.2f}"]
        status = subprocess.run([*command, "--runs", str(options.runs)]).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
