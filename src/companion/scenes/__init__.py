"""The embedded data: emoji scenes with captions and exact masks, made on the fly from a sprite
atlas.

A scene follows from its seed:

    from companion.scenes import scene
    example = scene(7)
    example.image, example.caption, example.masks
"""

from .captions import caption
from .dataset import dataset, export_imagefolder
from .scene import HELD_OUT, VALIDATION, Placed, Scene, scene
from .vocabulary import STYLES, Subset, backgrounds, groups, objects, subset, subsets

__all__ = [
    "HELD_OUT",
    "STYLES",
    "VALIDATION",
    "Placed",
    "Scene",
    "Subset",
    "backgrounds",
    "caption",
    "dataset",
    "export_imagefolder",
    "groups",
    "objects",
    "scene",
    "subset",
    "subsets",
]
