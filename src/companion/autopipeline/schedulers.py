"""Schedulers by name."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import diffusers

TABLE = Path(__file__).with_name("schedulers.toml")


@cache
def _table() -> dict[str, dict[str, Any]]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def scheduler_names() -> tuple[str, ...]:
    """The schedulers that `make_scheduler` knows."""
    return tuple(_table())


def make_scheduler(name: str, like: Any) -> Any:
    """Make a scheduler that fits a model.

    Args:
        name: one of `scheduler_names()`.
        like: the model's own scheduler: the noise levels it was trained with are taken from it.

    Raises:
        ValueError: an unknown name.
    """
    if name not in _table():
        known = ", ".join(scheduler_names())
        raise ValueError(f"There is no scheduler {name!r}; choose one of: {known}.")
    settings = dict(_table()[name])
    kind = getattr(diffusers, settings.pop("class"))
    return kind.from_config(like.config, **settings)
