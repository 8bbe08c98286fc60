"""What tests of several modules share."""

import sys

import pytest


@pytest.fixture
def hub_library_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh Python: huggingface_hub has not read its variables yet."""
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        # A test that imports it anew replaces the package's attribute too: this puts it back.
        monkeypatch.setattr(sys.modules["huggingface_hub"], "constants", constants)
    monkeypatch.delitem(sys.modules, "huggingface_hub.constants", raising=False)
