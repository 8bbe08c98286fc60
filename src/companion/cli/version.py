"""`companion --version`: the package, Python, and the libraries that matter most."""

import platform
from importlib import metadata

LIBRARIES = ("torch", "diffusers")


def versions() -> str:
    """The line that is printed: versions as pip has noted them, no library is imported."""
    from companion import __version__

    others = ", ".join(f"{name} {_installed(name)}" for name in LIBRARIES)
    return f"companion {__version__} (Python {platform.python_version()}, {others})"


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
