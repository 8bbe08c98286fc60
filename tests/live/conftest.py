"""The scripts that draw in the page, compared by node with what Python gives.

`test_noise.py` writes vectors and runs `noise.test.js`, which takes `engine.js` to load both the
vectors and the engine.
"""

from pathlib import Path

import pytest
from node_runner import Node


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)
