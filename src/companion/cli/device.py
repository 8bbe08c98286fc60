"""What has to be right before torch is imported: the working folder, and `--device`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def check_working_folder() -> None:
    """Look at the working folder before torch is imported: where it is gone, torch's mathematics
    library ends the process in its own words.

    Raises:
        ValueError: it is gone, or may not be looked at.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise ValueError(
            f"The working folder cannot be used ({error.strerror}): cd to another one first."
        ) from error


def choose_device(name: str | None) -> torch.device:
    """The device of that name, or the best there is.

    Args:
        name: cuda, mps or cpu; with a number behind a colon one of several, such as cuda:1.

    Raises:
        ValueError: there is no such device on this machine.
    """
    check_working_folder()
    import torch

    from companion.profile import best_device

    if name is None:
        return torch.device(best_device())
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there[:0] = ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if name not in there:
        raise ValueError(f"There is no device {name!r} here; there are: {', '.join(there)}.")
    return torch.device(name)
