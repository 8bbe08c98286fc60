"""The classifier: what it sees on scenes, and what it takes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from companion.door import Untrusted
from companion.scenes import HELD_OUT, backgrounds, objects, scene
from companion.zoo import folder, recognise


def test_the_classifier_names_scenes_it_never_saw() -> None:
    scenes = [scene(HELD_OUT + 10**9 + n) for n in range(200)]
    seen = recognise([shown.image for shown in scenes])
    right = [
        {thing.name for thing in shown.objects} == set(what.objects)
        for shown, what in zip(scenes, seen, strict=True)
    ]
    assert sum(right) / len(right) > 0.9
    assert (
        sum(shown.background == what.background for shown, what in zip(scenes, seen, strict=True))
        > 190
    )


def test_the_classifier_takes_pictures_and_tensors_of_any_size() -> None:
    shown = scene(5, subset="pets", size=128)
    tensor = torch.from_numpy(shown.pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    expected = (shown.objects[0].name,)
    assert recognise(shown.image)[0].objects == expected
    assert recognise(tensor)[0].objects == expected
    assert str(recognise(shown.image)[0]) == f"{expected[0]} on {shown.background}"


def test_the_classifiers_labels_are_the_objects_and_the_backgrounds() -> None:
    names = json.loads((folder("classifier") / "config.json").read_text())["id2label"].values()
    assert list(names) == [*objects(), *(f"{name} background" for name in backgrounds())]


@pytest.mark.parametrize(
    "wrong",
    [
        "cat.png",
        Path("cat.png"),
        None,
        [],
        ["cat.png"],
        np.zeros((64, 64, 3), np.uint8),
        torch.zeros(64, 64),
        torch.zeros(2, 4, 64, 64),
        torch.zeros(0, 3, 64, 64),
        torch.zeros(1, 3, 0, 64),
        torch.full((1, 3, 64, 64), float("nan")),
        torch.zeros(1, 3, 64, 64, dtype=torch.int64),
    ],
)
def test_what_cannot_be_recognised_is_one_sentence(wrong: Any) -> None:
    with pytest.raises(Untrusted, match=r"^(What is|There is|The tensor)[^\n]*: give|^The tensor"):
        recognise(wrong)


def test_pictures_of_several_sizes_grey_ones_and_bytes_are_recognised() -> None:
    image = scene(3, subset="flowers", size=64).image
    large = image.resize((128, 96))
    alone = [recognise(image)[0], recognise(large)[0]]
    assert recognise([image, large]) == recognise(iter([image, large])) == alone
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert recognise(pixels) == recognise(pixels / 127.5 - 1) == alone[:1]
    grey = torch.from_numpy(np.array(image.convert("L")))[None, None]
    assert recognise(grey) == recognise(image.convert("L"))
