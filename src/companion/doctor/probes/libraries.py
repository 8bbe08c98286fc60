"""Imports libraries, one after another, and says of each its version and its file."""

import importlib
import traceback
from collections.abc import Iterator
from typing import Any


def facts(*targets: str) -> Iterator[dict[str, Any]]:
    """For each "module" or "module:name", `{module: {version, file}}` or `{module: failure}`."""
    for target in targets:
        name, _, attribute = target.partition(":")
        yield {"importing": name}  # the last word, if this import takes Python down with it
        try:
            module = importlib.import_module(name)
            if attribute:  # these libraries load a part only when it is asked for
                getattr(module, attribute)
        except BaseException as error:
            yield {name: failure(error)}
        else:
            # Pillow and its like keep the version in the package above.
            package = importlib.import_module(name.partition(".")[0])
            version = str(getattr(package, "__version__", ""))
            yield {name: {"version": version, "file": str(getattr(package, "__file__", ""))}}
    yield {"importing": ""}


def failure(error: BaseException) -> dict[str, str]:
    """The error that started it all, and the package that was running then."""
    while error.__cause__:  # lazy imports wrap one in another
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame in frames]
    # The frames of Python's own import machinery lie between the libraries'.
    packages = [name for name in names if name not in ("importlib", "__main__", "<run_path>", "")]
    return {
        "error": f"{type(error).__name__}: {lines[0]}",
        "culprit": "torchvision" if "torchvision" in lines[0] else (packages or [""])[-1],
    }
