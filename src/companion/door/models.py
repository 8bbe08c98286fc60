"""Model folders of others: looked through before a library loads them, and safetensors only."""

from __future__ import annotations

from pathlib import Path


def check_model_folder(folder: Path) -> None:
    """Look through a folder in the Diffusers layout before `from_pretrained` reads it.

    Raises:
        Untrusted: it is no such folder, its weights are a pickle, or its settings are nonsense; the
            sentence says which file, and what to do.
    """
    raise NotImplementedError(folder)
