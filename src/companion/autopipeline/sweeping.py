"""The same pictures again and again, with some settings changed."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from .drawing import draw
from .schedulers import make_scheduler


@dataclass(frozen=True)
class Drawn:
    """One picture of a sweep.

    Attributes:
        picture: RGB.
        settings: what was changed for it.
        seed: of its noise.
        unet_calls: how often the UNet ran, for this picture and those drawn together with it.
    """

    picture: Image.Image
    settings: Mapping[str, Any]
    seed: int
    unet_calls: int

    @property
    def label(self) -> str:
        """The settings in words, for `figures.grid`."""
        return ", ".join(f"{name} {value}" for name, value in self.settings.items())


def sweep(
    pipe: Any,
    prompt: str,
    over: Mapping[str, Sequence[Any]],
    *,
    seeds: int | Sequence[int] = 0,
    **fixed: Any,
) -> list[Drawn]:
    """Draw a prompt with every combination of settings.

    Args:
        pipe: as for `draw`; its own scheduler is back in the end.
        prompt: what to draw.
        over: values by name: arguments of `draw`, and "scheduler" with names of
            `scheduler_names()`. The last name changes fastest.
        seeds: a picture for each, drawn together.
        **fixed: further arguments of `draw`, the same for all.

    Returns:
        The pictures, those of one setting side by side.

    Raises:
        ValueError: a name without values, an unknown scheduler, or what `draw` refuses.
    """
    for name, values in over.items():
        if isinstance(values, str) or not len(values):
            raise ValueError(f"The sweep over {name} needs a list of values, but has {values!r}.")
    several = [seeds] if isinstance(seeds, int) else list(seeds)
    own, calls = pipe.scheduler, 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    hook = pipe.unet.register_forward_pre_hook(count)
    drawn = []
    try:
        for combination in itertools.product(*over.values()):
            settings = dict(zip(over, combination, strict=True))
            arguments = {**fixed, **settings}
            name = arguments.pop("scheduler", None)
            pipe.scheduler = make_scheduler(name, own) if name else own
            calls = 0
            pictures = draw(pipe, prompt, seeds=several, **arguments)
            drawn += [
                Drawn(picture, settings, seed, calls)
                for picture, seed in zip(pictures, several, strict=True)
            ]
    finally:
        hook.remove()
        pipe.scheduler = own
    return drawn
