"""The tables that lie beside the code, in TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_table(path: Path) -> dict[str, Any]:
    """A TOML file of the package."""
    import tomllib  # 20 ms, of which `import companion` needs none

    return tomllib.loads(path.read_text(encoding="utf-8"))
