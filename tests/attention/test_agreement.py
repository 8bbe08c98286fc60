"""Where objects are, and how well a map agrees: on scenes, where the answer is known."""

import numpy as np
import pytest

from companion.attention.agreement import centre_square, foreground, measured, object_masks
from companion.metrics import bootstrap, iou
from companion.scenes import Scene, scene

WORLD = "stable-diffusion"


def agreement(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float((ours & theirs).sum() / (ours | theirs).sum())


def scenes(objects: int, count: int) -> list[Scene]:
    found = (scene(seed, subset=WORLD) for seed in range(3_000_000_000, 3_000_000_100))
    return [one for one in found if len(one.objects) == objects][:count]


def test_iou_is_intersection_over_union_at_each_threshold():
    heat = np.array([[[0.1, 0.5], [0.9, 0.3]]])
    mask = np.array([[[False, True], [True, False]]])
    assert iou(heat, mask, [0.0, 0.2, 0.4, 0.6, 0.95])[0].tolist() == [1 / 2, 2 / 3, 1, 1 / 2, 0]


def test_iou_of_nothing_with_nothing_is_zero():
    assert iou(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), [0.5]) == 0


def test_bootstrap_contains_the_mean_and_narrows_with_more_pictures():
    values = np.random.default_rng(1).random(400)
    few, many = bootstrap(values[:40], range(40)), bootstrap(values, range(400))
    for one in (few, many):
        assert one.low < one.mean < one.high
    assert many.high - many.low < (few.high - few.low) / 2


def test_bootstrap_does_not_take_two_objects_of_a_picture_for_two_pictures():
    values = np.random.default_rng(1).random(100)
    alone = bootstrap(values, range(100))
    twice = bootstrap(np.repeat(values, 2), np.repeat(range(100), 2))
    assert twice == pytest.approx(alone)


def test_centre_square_lies_in_the_middle():
    mask = centre_square(8, 4)
    assert mask.sum() == 16
    assert mask[2:6, 2:6].all()


def test_foreground_is_where_the_objects_of_scenes_are():
    found = [agreement(foreground(one.image), one.masks.any(0)) for one in scenes(1, 20)]
    assert np.mean(found) > 0.9
    # An object of the background's own colour, a black penguin at night, cannot be found by it.
    assert sorted(found)[1] > 0.6


def test_two_objects_are_told_apart_and_come_in_the_order_of_their_names():
    right = left_out = 0
    for one in scenes(2, 12):
        masks = object_masks(one.image, [thing.name for thing in one.objects])
        if masks is None:
            left_out += 1
            continue
        right += min(map(agreement, masks, one.masks)) > 0.6
    assert left_out <= 1
    assert right >= 11 - left_out


def test_a_picture_without_the_object_is_left_out():
    one = scenes(1, 1)[0]
    (thing,) = one.objects
    other = "cat" if thing.name != "cat" else "car"
    assert object_masks(one.image, [thing.name]) is not None
    assert object_masks(one.image, [other]) is None
    assert object_masks(one.image, [thing.name, other]) is None


def test_the_stored_table_is_of_500_pictures_each_and_has_an_interval_at_every_threshold():
    table = measured()
    pictures = {"real": 0, "drawn": 0}
    for group, methods in table["groups"].items():
        kind, number = group.split(", ")
        objects = methods["all"]["objects"]
        pictures[kind] += objects // 2 if number == "two objects" else objects
        if kind == "drawn":
            pictures[kind] += round(methods["left out"]["mean"][0] * methods["left out"]["objects"])
        for found in (methods["all"], methods["whole picture"]):
            assert len(found["mean"]) == len(table["thresholds"])
            for low, mean, high in zip(found["low"], found["mean"], found["high"], strict=True):
                assert 0 <= low <= mean <= high <= 1
    assert pictures == {"real": 500, "drawn": 500}


def test_the_stored_maps_beat_both_baselines():
    table = measured()
    at = table["thresholds"].index(0.4)
    for methods in table["groups"].values():
        for guess in ("whole picture", "centre square, side 40"):
            assert methods["all"]["low"][at] > methods[guess]["high"][at]
