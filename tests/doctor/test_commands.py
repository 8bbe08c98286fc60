"""The commands that remedies name."""

import os
import subprocess
import sys
from importlib.machinery import PathFinder

import pytest


@pytest.mark.skipif(not PathFinder.find_spec("setuptools"), reason="setuptools is not installed")
def test_a_remedy_that_names_pip_leaves_torch_s_compiler_what_it_needs() -> None:
    # Up to Python 3.11 setuptools takes its distutils back when pip is looked for the ordinary way.
    code = (
        "from companion.doctor.commands import pip_install\n"
        "assert pip_install(['torch']).endswith('pip install torch')\n"
        "import distutils\n"
        "print(distutils.__file__)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SETUPTOOLS_USE_DISTUTILS": "local"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "setuptools" in answer.stdout
