"""The same pictures again and again, with some settings changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from PIL import Image

from companion.door import printable
from companion.door.numbers import is_several, shown

from .arguments import seeds_of
from .checks import prepare, warn_of_cut_prompts
from .drawing import run
from .loading import task_of
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
    prompt: str | Sequence[str],
    over: Mapping[str, Sequence[Any]],
    *,
    seeds: int | Iterable[int] = 0,
    **fixed: Any,
) -> list[Drawn]:
    """Draw a prompt with every combination of settings.

    Chapter 4, "What the companion adds".

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
    if not isinstance(over, Mapping):
        raise ValueError(
            f"A sweep goes over a dict of names and lists, such as {{'guidance_scale': [1, 7]}}, "
            f"but {shown(over)} was given."
        )
    task_of(pipe)  # says so if it is none
    several, own, calls = seeds_of(seeds), pipe.scheduler, 0
    values = {name: _values(name, given) for name, given in over.items()}
    combinations = [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    hook = pipe.unet.register_forward_pre_hook(count)
    planned, drawn = [], []
    try:
        for settings in combinations:  # all are looked through before the first is drawn
            arguments = {**fixed, **settings}
            name = arguments.pop("scheduler", None)
            pipe.scheduler = own if name is None else make_scheduler(name, own)
            planned.append((settings, pipe.scheduler, prepare(pipe, prompt, several, arguments)))
        warn_of_cut_prompts(pipe, planned[0][-1].prompts)
        for settings, scheduler, call in planned:
            pipe.scheduler, calls = scheduler, 0
            drawn += [
                Drawn(picture, settings, seed, calls)
                for picture, seed in zip(run(pipe, call), several, strict=True)
            ]
    finally:
        hook.remove()
        pipe.scheduler = own
    return drawn


def _values(name: str, values: Any) -> list[Any]:
    several = list(values) if is_several(values) else []
    if not several:
        raise ValueError(
            f"The sweep over {printable(str(name))} needs a list of values, but has "
            f"{shown(values)}."
        )
    return several
