"""Runs: what they write, that they follow from the seed, and that they go on exactly."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import companion.finetuning.learner as learner
from companion.finetuning import FinetuneConfig, finetune, versions

Make = Callable[..., FinetuneConfig]
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora-and-words": {"text_encoder": True, "token": "<fox>", "vectors": 2},
    "textual-inversion": {"method": "textual_inversion", "initial_word": "cat"},
    "dreambooth": {
        "method": "dreambooth",
        "text_encoder": True,
        "prior_weight": 1.0,
        "prior_prompt": "a cat",
    },
}


def bytes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that a run leaves."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("changes", METHODS.values(), ids=METHODS)
def test_a_killed_run_ends_with_the_same_bytes(
    changes: dict[str, Any], tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune(tiny(output_dir=str(tmp_path / "whole"), save_every=3, **changes))

    loss = learner.Learner.loss

    def killed(self: learner.Learner, step: int) -> torch.Tensor:
        if step == 5:  # one step after the checkpoint of step 4
            raise KeyboardInterrupt
        return loss(self, step)

    config = tiny(output_dir=str(tmp_path / "cut"), save_every=3, resume=True, **changes)
    with monkeypatch.context() as patch:
        patch.setattr(learner.Learner, "loss", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(config)
    again = finetune(config)
    assert again.losses == whole.losses
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")
    assert list(versions(again.folder)) == [3]
