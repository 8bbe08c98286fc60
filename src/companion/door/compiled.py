"""Compiled modules: what `torch.compile` and `Module.compile` leave on them, told and undone.

torch has no public word for either (seen in 2.13), so its private ones stand here alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def uncompiled(module: Any) -> Any:
    """What `torch.compile` wrapped, or the module itself."""
    return getattr(module, "_orig_mod", module)


def is_compiled(module: nn.Module) -> bool:
    """Whether any part of it is, by `torch.compile`, `compile`, or `compile_repeated_blocks`."""
    return any(
        part._compiled_call_impl is not None or uncompiled(part) is not part
        for part in module.modules()
    )


def make_eager(parts: Iterable[nn.Module]) -> None:
    """Undo `Module.compile`."""
    for part in parts:
        part._compiled_call_impl = None
