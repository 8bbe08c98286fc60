"""Chapter 6: which word made which pixels (DAAM, Tang et al. 2023, arXiv:2210.04885).

    with trace(pipe) as maps:
        image = pipe("a cat on a blue background").images[0]
    heat_map = maps.compute_global_heat_map()
    heat_map.compute_word_heat_map("cat").plot_overlay(image)

The words are those of the package daam, and so are the numbers. Chapter 6 of the book derives them.
"""

import lazy_loader

# What `__init__.pyi` names, loaded when it is asked for: `companion attend` looks at its arguments
# before torch is loaded.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
