"""The stock tool that reads what a picture's file says: exiftool, of libimage-exiftool-perl."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def read_with_exiftool(path: Path) -> dict[str, Any]:
    """What a file says, by group and name; the test is skipped where the tool is missing, except
    in CI, which installs it."""
    if not shutil.which("exiftool") and not os.environ.get("CI"):
        pytest.skip("exiftool is not installed: apt install libimage-exiftool-perl")
    command = ["exiftool", "-json", "-G1", "-charset", "filename=utf8", str(path)]
    said = subprocess.run(command, capture_output=True, check=True).stdout
    (found,) = json.loads(said)
    return dict(found)


def warnings_of_exiftool(path: Path) -> str:
    """What the tool finds wrong with a file."""
    command = ["exiftool", "-validate", "-warning", "-error", "-a", "-s3", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
