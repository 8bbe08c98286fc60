"""Tensors and texts in one safetensors file, with a checksum, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from companion.door import Untrusted, create, inside

SHA256 = "sha256"
NEW = ".new-"  # what is being written


def store(path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> None:
    """Write tensors of any device, and texts by name, in the place of the file that was there."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {**told, SHA256: checksum(whole, told)}
    replace(path, lambda new: _write(new, save(whole, metadata)))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What was stored, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        Untrusted: it is another file, or not what was written.
    """
    if not path.is_file():
        if os.path.lexists(path):
            raise Untrusted(f"{path} is no file.")
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, "pt") as file:
            told = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise Untrusted(f"{path} is damaged ({error}).") from error
    if told.pop(SHA256, None) != checksum(tensors, told):
        raise Untrusted(f"{path} is damaged (its checksum differs).")
    # Copied, after the check of the file's own bytes: what lies in the file itself, Windows lets
    # nobody replace or remove.
    return {name: tensor.clone() for name, tensor in tensors.items()}, told


def checksum(tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    sum_of = hashlib.sha256(repr(sorted(told.items())).encode())
    for name, tensor in sorted(tensors.items()):
        sum_of.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        sum_of.update(content.numpy().data)
    return sum_of.hexdigest()


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let a file, or a folder of files, be written beside its place and then put there: no file is
    ever half there, and none is written through a link."""
    new = path.with_name(f"{NEW}{path.name}")
    remove(new)  # a killed run's
    write(new)
    there = os.path.lexists(path) and not path.is_symlink()
    if there and path.is_dir() != new.is_dir():
        remove(new)
        raise Untrusted(f"{path} is in the way: move it elsewhere, and run it again.")
    if new.is_dir():
        for file in sorted(part for part in new.rglob("*") if part.is_file()):
            place = inside(path.parent, path.name, *file.relative_to(new).parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
        remove(new)
    else:
        new.replace(path)


def remove(path: Path) -> None:
    """Remove a file, a folder and all in it, or a link; nothing where nothing is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with create(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
