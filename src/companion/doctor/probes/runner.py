"""Runs one probe: prints the facts it yields as lines of JSON, and how it failed.

python runner.py PROBE.py ARGUMENT ...
"""

import json
import os
import runpy
import sys
import threading


def cause(error: BaseException) -> str:
    """The error that started it all: lazy imports wrap one in another."""
    while error.__cause__ or (error.__context__ and not error.__suppress_context__):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def end_with_the_doctor() -> None:
    """The pipe closes when the doctor has ended, by whatever."""
    os.read(0, 1)
    os._exit(1)


threading.Thread(target=end_with_the_doctor, daemon=True).start()
script, *arguments = sys.argv[1:]
try:
    for facts in runpy.run_path(script)["facts"](*arguments):
        print("\n" + json.dumps(facts), flush=True)
except BaseException as error:  # SystemExit of a library too
    print("\n" + json.dumps({"error": cause(error)}), flush=True)
