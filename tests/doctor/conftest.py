import os
from collections.abc import Callable
from pathlib import Path

import pytest

from companion.hub import environment

# What a machine may have set; each test sets its own.
NAMES = [
    *("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH"),
    *("HUGGINGFACE_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME"),
    *("TRANSFORMERS_CACHE", "HF_HUB_ENABLE_HF_TRANSFER", "HF_HUB_DISABLE_XET"),
    *("HF_HUB_DISABLE_IMPLICIT_TOKEN", "COLAB_RELEASE_TAG", "COMPANION_PROFILE"),
    *("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    *("CUDA_VISIBLE_DEVICES", "PYTHON_COLORS", "NO_COLOR"),
]


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A laptop with nothing set and an empty home folder, which is given."""
    home = tmp_path / "home"
    home.mkdir()
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(environment, "AUTODL_DATA_DISK", tmp_path / "no-data-disk")
    return home


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a library in front of the real one, for this process's children: stub(name, source)."""

    def make(name: str, source: str) -> Path:
        file = tmp_path / "stubs" / name / "__init__.py"
        file.parent.mkdir(parents=True)
        file.write_text(source)
        folders = [str(tmp_path / "stubs"), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
        return file

    return make
