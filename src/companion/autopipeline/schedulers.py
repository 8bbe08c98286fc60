"""Schedulers by name, and of a configuration that a file tells."""

import inspect
import math
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import diffusers
from diffusers.configuration_utils import ConfigMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from companion.door.numbers import shown
from companion.door.pipelines import STEPS_OTHERWISE, serves, try_steps
from companion.door.text import fault_of

MOST_LEVELS = 10_000  # models are trained with 1,000; tables of that many numbers are made
TABLE = Path(__file__).with_name("schedulers.toml")


@cache
def _table() -> dict[str, dict[str, Any]]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def scheduler_names() -> tuple[str, ...]:
    """The schedulers that `make_scheduler` knows."""
    return tuple(_table())


def make_scheduler(name: str, like: Any) -> Any:
    """Make a scheduler that fits a model.

    Chapter 4, "Another scheduler".

    Args:
        name: one of `scheduler_names()`.
        like: the model's own scheduler: the noise levels it was trained with are taken from it.

    Raises:
        ValueError: an unknown name, or no scheduler.
    """
    if not isinstance(name, str) or name not in _table():
        known = ", ".join(scheduler_names())
        raise ValueError(f"There is no scheduler {shown(name)}; choose one of: {known}.")
    if not hasattr(like, "config"):
        raise ValueError(f"{shown(like)} is no scheduler: give that of a pipeline, pipe.scheduler.")
    settings = dict(_table()[name])
    kind = getattr(diffusers, settings.pop("class"))
    return kind.from_config(like.config, **settings)


def scheduler_of(configuration: Mapping[str, Any], steps: int = 50) -> Any:
    """Make the scheduler of a configuration from a file, and try it on a few numbers.

    Args:
        configuration: `_class_name`, one of Diffusers' schedulers, and what its class takes; what
            it does not take is left out, as the configuration of another may stand in there too.
        steps: that will be taken.

    Raises:
        ValueError: there is no such scheduler, or it cannot be made and used so.
    """
    name = configuration.get("_class_name")
    kind = _classes().get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"There is no scheduler {shown(name)} in Diffusers.")
    if not serves(kind):
        raise ValueError(f"A {name} {STEPS_OTHERWISE}")
    hints = get_type_hints(kind.__init__)
    given = {}
    for key, parameter in inspect.signature(kind.__init__).parameters.items():
        if key in configuration:
            value = configuration[key]
            if not _fits(value, parameter.default, hints.get(key)):
                raise ValueError(f"The scheduler {name} cannot have {key} = {shown(value)}.")
            given[key] = value
    try:
        made = kind(**given)
        _try(kind(**given), steps)  # not the one that is given back: trying leaves traces
    except Exception as error:  # each class has its own
        raise ValueError(
            f"The scheduler {name} cannot be used with this configuration ({fault_of(error)})."
        ) from error
    return made


@cache
def _classes() -> dict[str, Any]:
    found = {name: getattr(diffusers, name) for name in dir(diffusers) if "Scheduler" in name}
    return {
        name: kind
        for name, kind in found.items()
        if isinstance(kind, type)
        and issubclass(kind, SchedulerMixin)
        and issubclass(kind, ConfigMixin)
        and kind.__module__.startswith("diffusers.schedulers.")
    }


def _fits(value: Any, default: Any, hint: Any) -> bool:
    """Whether a value is such as a parameter's default is, and no number beyond sense."""
    if isinstance(value, list):
        listed = default is None or isinstance(default, list)
        return listed and len(value) <= MOST_LEVELS and all(map(_small, value))
    if value is None or value == default:
        return True
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if isinstance(default, bool | str):
        return type(value) is type(default)
    if isinstance(default, int):
        return type(value) is int and _small(value)
    return _small(value) or (default is None and isinstance(value, bool | str))


def _small(value: Any) -> bool:
    return type(value) in (int, float) and (abs(value) <= MOST_LEVELS or value == -math.inf)


def _try(scheduler: Any, steps: int) -> None:
    """Go once through all steps as a pipeline does."""
    levels = scheduler.config.get("num_train_timesteps", MOST_LEVELS)
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is not None and not (len(kept) == levels and ((kept >= 0) & (kept <= 1)).all()):
        raise ValueError(f"its noise levels are not {levels} numbers between 0 and 1")
    if steps > levels:
        raise ValueError(f"{shown(steps)} steps, but {levels} noise levels")
    try_steps(scheduler, {"num_inference_steps": steps})
