"""A picture drawn and traced at once: with which model, and what it leaves as it was."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers

from companion.attention import drawing
from companion.zoo import folder as zoo


def test_what_belongs_to_the_whole_process_stays_as_it_was() -> None:
    before = torch.get_rng_state()
    of_libraries = (diffusers.utils.logging, transformers.utils.logging)
    verbosity = [logging.get_verbosity() for logging in of_libraries]
    picture, page = drawing.draw("a cat on a blue background", ["cat"], None, 1, 3)
    assert page.words == ["cat"]
    assert np.asarray(picture).any()
    assert torch.equal(torch.get_rng_state(), before)
    assert [logging.get_verbosity() for logging in of_libraries] == verbosity


def test_a_mirror_gets_no_token_and_only_safetensors_come(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def index(model: str, file: str, **given: Any) -> str:
        asked["index"] = (model, given)
        return str(zoo("stable-diffusion") / file)

    def download(model: str, **given: Any) -> str:
        asked.update(given, model=model)
        return str(zoo("stable-diffusion"))

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    monkeypatch.setattr(drawing, "hf_hub_download", index)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "a" * 34)
    for address, token in (
        ("https://mirror.example", False),
        ("https://huggingface.co", "hf_" + "a" * 34),
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert drawing._folder("me/model") == Path(zoo("stable-diffusion"))
        assert asked.pop("index") == ("me/model", {"token": token})
        assert asked == {"model": "me/model", "use_safetensors": True, "token": token}
