"""Where objects are: on scenes, where the answer is known."""

import numpy as np

from companion.metrics import iou
from companion.scenes import HELD_OUT, Scene, scene
from companion.zoo.segmentation import foreground, object_masks

WORLD = "stable-diffusion"
FIRST = HELD_OUT + 10**9  # no seed that a card was measured on


def scenes(objects: int, count: int) -> list[Scene]:
    found = (scene(seed, subset=WORLD) for seed in range(FIRST, FIRST + 100))
    return [shown for shown in found if len(shown.objects) == objects][:count]


def test_foreground_is_where_the_objects_of_scenes_are() -> None:
    found = [iou(foreground(shown.image), shown.masks.any(0)) for shown in scenes(1, 20)]
    assert np.mean(found) > 0.9
    # An object of the background's own colour, a black penguin at night, cannot be found by it.
    assert sorted(found)[1] > 0.6


def test_two_objects_are_told_apart_and_come_in_the_order_of_their_names() -> None:
    right = left_out = 0
    for shown in scenes(2, 12):
        masks = object_masks(shown.image, [thing.name for thing in shown.objects])
        if masks is None:
            left_out += 1
            continue
        right += min(map(iou, masks, shown.masks)) > 0.6
    assert left_out <= 1
    assert right >= 11 - left_out


def test_a_picture_without_the_object_is_left_out() -> None:
    shown = scenes(1, 1)[0]
    (thing,) = shown.objects
    other = "cat" if thing.name != "cat" else "car"
    assert object_masks(shown.image, [thing.name]) is not None
    assert object_masks(shown.image, [other]) is None
    assert object_masks(shown.image, [thing.name, other]) is None


def test_the_foreground_is_the_scenes_own_objects_where_colours_differ() -> None:
    shown = [scene(seed, subset=WORLD) for seed in range(FIRST, FIRST + 8)]
    found = [iou(foreground(each.image), each.masks.any(0)) for each in shown]
    assert np.median(found) > 0.9
