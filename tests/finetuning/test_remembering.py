"""What is still drawn: asked of the classifier."""

from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

import companion.finetuning.remembering as remembering
from companion.finetuning import forgetting
from companion.metrics import wilson
from companion.scenes import Subset, backgrounds, scene
from companion.zoo import folder


@pytest.fixture
def draws_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model in whose place the scenes themselves are drawn: of "fox" and "robot" always a fox."""
    asked: list[str] = []

    def draw(pipeline: Any, prompts: list[str], seeds: list[int], **_: Any) -> list[Image.Image]:
        asked.extend(prompts)
        images = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            name = next((word for word in ("cat", "apple") if word in prompt), "fox")
            colour = next(colour for colour in backgrounds() if colour in prompt)
            others = frozenset((name, other) for other in backgrounds() if other != colour)
            images.append(scene(seed, subset=Subset("", (name,), ("3d",), (1,), others)).image)
        return images

    monkeypatch.setattr(remembering, "draw", draw)
    return asked


def test_old_and_new_are_counted_apart(
    draws_what_it_knows: list[str], pipe: StableDiffusionPipeline
) -> None:
    found = forgetting(
        pipe,
        ["fox"],
        old=["cat", "apple", "robot"],
        backgrounds=["red", "blue"],
        words={"fox": "<fox>"},
    )
    assert draws_what_it_knows[-1] == "a <fox> on a blue background"
    assert len(found.images) == 8
    assert found.old == wilson([True] * 4 + [False] * 2)
    assert found.new == wilson([True] * 2)
    assert found.leaked == wilson([True] * 2 + [False] * 4)
    assert found.background.mean == 1
    assert {name: share.mean for name, share in found.by_object.items()} == {
        "cat": 1,
        "apple": 1,
        "robot": 0,
        "fox": 1,
    }


def test_what_the_classifier_cannot_name_is_refused(pipe: StableDiffusionPipeline) -> None:
    with pytest.raises(ValueError, match=r"knows no object 'wolf': choose of .*fox"):
        forgetting(pipe, ["wolf"])
    with pytest.raises(ValueError, match=r"knows no background 'beige': choose of .*black"):
        forgetting(pipe, backgrounds=["beige"])
    with pytest.raises(ValueError, match="Nothing is asked"):
        forgetting(pipe, old=[])


@pytest.mark.slow
def test_the_zoos_own_model_has_forgotten_nothing_and_knows_no_fox() -> None:
    pipe = StableDiffusionPipeline.from_pretrained(
        folder("stable-diffusion"), dtype=torch.float32, use_safetensors=True
    )
    scheduler = pipe.scheduler
    found = forgetting(pipe, ["fox"], old=["cat", "rocket"], backgrounds=["red", "blue"], steps=10)
    assert found.old.mean == 1
    assert found.new.mean == 0
    assert pipe.scheduler is scheduler
