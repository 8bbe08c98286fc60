"""The embedded scenes: deterministic, described truly, masked exactly."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from companion.scenes import (
    Subset,
    backgrounds,
    caption,
    dataset,
    export_imagefolder,
    groups,
    objects,
    scene,
    subset,
    subsets,
)
from companion.scenes.atlas import sprite


def test_the_world_is_as_large_as_promised() -> None:
    assert len(objects()) >= 60
    assert len(groups()["flowers"]) >= 10
    assert {"sushi", "dinosaur", "lantern", "robot", "ghost", "cat"} <= set(objects())
    assert len(set(objects())) == len(objects())


def test_every_object_has_a_visible_sprite_in_every_style() -> None:
    for name in objects():
        shapes = []
        for style in ("3d", "flat"):
            pixels = sprite(name, style, 48)
            assert pixels.shape == (48, 48, 4)
            assert (pixels[..., 3] > 128).mean() > 0.1, f"{name} in {style} is nearly empty"
            shapes.append(pixels)
        assert not np.array_equal(*shapes), f"{name} looks the same in both styles"


def test_one_seed_gives_one_scene_on_every_machine() -> None:
    digest = hashlib.sha256()
    for seed in range(50):
        drawn = scene(seed)
        digest.update(drawn.pixels.tobytes() + drawn.masks.tobytes() + drawn.caption.encode())
    assert digest.hexdigest() == (
        "d3aa699c029a36ad4f7350e859fd3233c9a14976283019842f176a5b25e09cae"
    )


def test_depth_is_zero_behind_and_the_larger_of_two_objects_is_nearer() -> None:
    for seed in range(100):
        drawn = scene(seed)
        assert drawn.depth.shape == (64, 64)
        assert (drawn.depth[~drawn.masks.any(axis=0)] == 0).all()
        depths = [drawn.depth[mask].mean() for mask in drawn.masks]
        assert depths == pytest.approx([thing.side / 64 for thing in drawn.objects])


def test_masks_cover_the_objects_and_nothing_else() -> None:
    for seed in range(100):
        drawn = scene(seed)
        assert drawn.masks.shape == (len(drawn.objects), 64, 64)
        assert drawn.masks.any(axis=(1, 2)).all()
        assert drawn.masks.sum(axis=0).max() == 1, "two objects claim drawn pixel"
        colour = drawn.pixels[~drawn.masks.any(axis=0)].astype(int)
        named = np.array(backgrounds()[drawn.background])
        plain = np.abs(colour - named).max(axis=1) <= 6
        # What is left beside the masks is the sprites' half transparent rim.
        assert plain.mean() > 0.85


def test_the_caption_tells_where_the_objects_are() -> None:
    told = 0
    for seed in range(400):
        drawn = scene(seed)
        found = re.search(r"left of|right of|above|below", drawn.caption)
        if not found:
            continue
        told += 1
        (y0, x0), (y1, x1) = (np.argwhere(mask).mean(axis=0) for mask in drawn.masks)
        assert {"left of": x0 < x1, "right of": x0 > x1, "above": y0 < y1, "below": y0 > y1}[
            found.group()
        ], drawn.caption
    assert told > 50


def test_captions_follow_the_grammar() -> None:
    assert caption(["apple"], background="orange") == "an apple on an orange background"
    assert caption(["sushi", "owl"], "and", style="flat") == "sushi and an owl, flat style"
    assert caption(["cat"], opening="a photo of") == "a photo of a cat"


def test_a_subset_keeps_to_its_objects_styles_counts_and_held_out_pairs() -> None:
    for world in subsets().values():
        for seed in range(200):
            drawn = scene(seed, subset=world)
            assert len(drawn.objects) in world.counts
            for thing in drawn.objects:
                assert thing.name in world.objects
                assert thing.style in world.styles
                assert (thing.name, drawn.background) not in world.held_out


def test_a_subset_of_ones_own_is_drawn_from() -> None:
    own = Subset("own", objects=("key",), styles=("flat",), counts=(1,), held_out=frozenset())
    assert scene(3, subset=own).objects[0].name == "key"


@pytest.mark.parametrize("size", [16, 32, 128])
def test_scenes_come_in_other_sizes(size: int) -> None:
    assert scene(1, size=size).pixels.shape == (size, size, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scene(-1), "0 or more"),
        (lambda: scene(1, size=8), "16 to 256"),
        (lambda: scene(1.5), "The seed of a scene is 1.5, but it is a whole number"),  # type: ignore[arg-type]
        (lambda: subset("fruit"), "choose one of: all, flowers"),
        (lambda: dataset(0), "at least 1"),
    ],
)
def test_bad_input_is_one_clear_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_numpys_numbers_are_numbers() -> None:
    given = scene(np.int64(7), size=np.int32(32))  # type: ignore[arg-type]
    assert np.array_equal(given.pixels, scene(7, size=32).pixels)


def test_a_dataset_holds_the_scenes_of_its_seeds() -> None:
    rows = dataset(1005, subset="flowers", image_size=32, first_seed=7)
    assert rows.num_rows == 1005
    row, drawn = rows[1003], scene(1010, subset="flowers", size=32)
    assert np.array_equal(np.asarray(row["image"]), drawn.pixels)
    assert np.array_equal(np.asarray(row["masks"][0]) == 255, drawn.masks[0])
    assert row["caption"] == drawn.caption
    assert row["objects"] == [drawn.objects[0].name]


def test_an_imagefolder_is_read_back_by_datasets(tmp_path: Path) -> None:
    from datasets import load_dataset

    folder = export_imagefolder(tmp_path / "scenes", range(5), subset="animals")
    rows = load_dataset(
        "imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert rows.num_rows == 5
    assert rows[2]["text"] == scene(2, subset="animals").caption
    assert np.array_equal(np.asarray(rows[2]["image"]), scene(2, subset="animals").pixels)


def test_an_imagefolder_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="not empty"):
        export_imagefolder(tmp_path, range(2))
    assert (tmp_path / "mine.txt").read_text() == "keep me"
