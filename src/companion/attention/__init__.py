"""Chapter 6: which word made which pixels (DAAM, Tang et al. 2023, arXiv:2210.04885).

    with trace(pipe) as maps:
        image = pipe("a cat on a blue background").images[0]
    heat_map = maps.compute_global_heat_map()
    heat_map.compute_word_heat_map("cat").plot_overlay(image)

The words are those of the package daam, and so are the numbers. Chapter 6 of the book derives them.
"""

from .attributing import attribute
from .heat_map import GlobalHeatMap, WordHeatMap
from .storage import load, save
from .sums import HeatMaps, Key
from .tracing import trace

__all__ = [
    "GlobalHeatMap",
    "HeatMaps",
    "Key",
    "WordHeatMap",
    "attribute",
    "load",
    "save",
    "trace",
]
