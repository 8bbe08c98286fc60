"""What the chapters bring along: the embedded models, the profile, the builder of the pages."""

import os

from companion import __version__
from companion.door import exists
from companion.door.tables import read_table
from companion.sources import PROFILES, VARIABLE

from . import commands
from .finding import Finding, good, problem
from .libraries import installed

PACKAGE = PROFILES.parent
RELEASE = f"diffusers-notes=={__version__}"


def check_profile() -> list[Finding]:
    """That the profile exists."""
    known = read_table(PROFILES)
    name = os.environ.get(VARIABLE) or "small"
    if name not in known:
        text = f"{VARIABLE}={name}: there is none of that name"
        return [problem("Profile", text, f"export {VARIABLE}=small (or full)")]
    what = {"small": "the models in the package", "full": "the original models of the hub"}
    return [good("Profile", f"{name}: {what.get(name, 'of your own')}")]


def check_zoo() -> list[Finding]:
    """That the embedded models are whole, by the SHA-256 of every file."""
    from companion.zoo.registry import entries, faults

    found = [fault for name in entries() for fault in faults(name)]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        # In a clone git has them; an installed package is installed anew.
        clone = exists(PACKAGE.parents[1] / ".git")
        restore = f"git -C {PACKAGE.parents[1]} checkout -- src/companion/zoo"
        again = commands.pip_install([RELEASE], "--force-reinstall", "--no-deps")
        remedy = restore if clone else again
        return [problem("Zoo", found[0].text + more, remedy)]
    return [good("Zoo", "the embedded models' files are whole")]


def check_builder() -> list[Finding]:
    """That jupyter-book, if it is here, is the one that reads the book."""
    version = installed("jupyter-book")
    if version is None:
        return [good("Builder", "jupyter-book is not installed; only building the pages needs it")]
    if int(version.split(".")[0]) >= 2:
        return [
            problem(
                "Builder",
                f"jupyter-book {version} is another program, and builds nothing of this book",
                commands.pip_install(["jupyter-book>=1.0.4,<2"]),
            )
        ]
    return [good("Builder", f"jupyter-book {version}")]
