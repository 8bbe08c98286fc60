"""What models that draw from text are asked, on pictures whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from companion.evaluation.text_to_pictures import (
    in_batches,
    lies_as_said,
    measure_drawing,
    one_object_prompts,
    two_object_prompts,
)
from companion.metrics import percent
from companion.scenes import HELD_OUT, scene, subset

WORLD = subset("stable-diffusion")


def test_every_object_is_asked_for_on_every_background() -> None:
    prompts = list(one_object_prompts(WORLD))
    assert len(prompts) == 16 * 11
    assert ("a cat on a blue background", "cat", "blue") in prompts


def test_two_objects_are_those_of_scenes_that_no_training_saw() -> None:
    for prompt, names, colour in two_object_prompts(WORLD, 20):
        assert all(name in prompt for name in (*names, colour))


@pytest.mark.parametrize("seed", range(HELD_OUT, HELD_OUT + 40))
def test_true_scenes_lie_as_their_captions_say_and_their_mirrors_do_not(seed: int) -> None:
    made = scene(seed, subset=WORLD)
    said = None if len(made.objects) == 1 else lies_as_said(made.caption, made.masks)
    if said is not None:
        assert said
        assert lies_as_said(made.caption, made.masks[::-1]) is False


def test_pictures_are_drawn_in_batches_each_with_its_seed() -> None:
    asked: list[tuple[int, int]] = []

    def draw(prompts: list[str], first_seed: int) -> list[Image.Image]:
        asked.append((len(prompts), first_seed))
        return [Image.new("RGB", (64, 64))] * len(prompts)

    assert len(in_batches(draw, ["sushi"] * 20, 100)) == 20
    assert asked == [(16, 100), (4, 116)]


@pytest.mark.slow
def test_true_scenes_get_full_marks_but_where_the_prompt_is_not_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion.evaluation.text_to_pictures.COMPARED", 100)
    by_caption = {
        made.caption: made.image
        for made in (scene(seed, subset=WORLD) for seed in range(HELD_OUT, HELD_OUT + 2000))
    }
    grey = Image.fromarray(np.full((64, 64, 3), 128, np.uint8))

    def draw(prompts: list[str], first_seed: int) -> list[Image.Image]:
        return [by_caption.get(prompt, grey) for prompt in prompts]

    figures = measure_drawing(draw, WORLD, tmp_path)
    assert figures["two objects: both named, %"] > 95
    assert figures["two objects: background right, %"] > 95
    assert figures["found apart: position as said, %"] == 100
    share = percent(prompt in by_caption for prompt, _, _ in one_object_prompts(WORLD))
    assert figures["one object: named by the classifier, %"] == pytest.approx(share, abs=2)
    assert figures["distance to the nearest sprite, median"] < 0.001
    assert abs(figures["KID to held-out scenes"]) < 2  # of two sets of a hundred: -0.1 to 0.8
    assert (tmp_path / "samples-two-objects.png").exists()
