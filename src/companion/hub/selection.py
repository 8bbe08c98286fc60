"""Which files of a repository are needed: the chapter's, or one copy of each weight."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

# Formats that hold the same weights again where a safetensors file of their name lies beside them.
OTHER_FORMATS = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".onnx_data", ".pb")
VARIANT = re.compile(r"\.(fp16|bf16|non_ema|ema_only)(?=\.)")
# What Diffusers and Transformers call the weights of a folder.
LOADED = re.compile(r"^(diffusion_pytorch_model|model|pytorch_model)\b")
# What they call them in other formats, in one file or in numbered pieces.
NAMES = {
    "pytorch_model": "model",
    "tf_model": "model",
    "flax_model": "model",
    "diffusion_flax_model": "diffusion_pytorch_model",
}
PIECE = re.compile(r"-\d{5}-of-\d{5}$")


def select(paths: Iterable[str], patterns: Sequence[str] = ()) -> list[str]:
    """The paths that match one of the patterns, or without patterns one copy of each weight.

    Left out then are: other formats of what is there as safetensors, variants (fp16, non_ema)
    beside the plain file, and at the top of a pipeline's folder the single-file checkpoints that
    hold it all again.
    """
    paths = list(paths)
    if patterns:
        return [path for path in paths if any(fnmatch(path, pattern) for pattern in patterns)]
    there = set(paths)
    twins = {_weights(path) for path in paths if path.endswith(".safetensors")}
    pipeline = "model_index.json" in there
    return [
        path
        for path in paths
        if not _again(path, twins, pipeline)
        and (VARIANT.sub("", path) == path or VARIANT.sub("", path) not in there)
    ]


def _again(name: str, twins: set[tuple[str, str]], pipeline: bool) -> bool:
    """Whether a file holds weights that come in another one, too."""
    path = PurePosixPath(name)
    if path.suffix not in (".safetensors", *OTHER_FORMATS):
        return False
    if path.suffix in OTHER_FORMATS and {_weights(name), _weights(VARIANT.sub("", name))} & twins:
        return True
    return pipeline and len(path.parts) == 1 and not LOADED.match(path.name)


def _weights(name: str) -> tuple[str, str]:
    """The folder of a file of weights, and its name whatever the format."""
    path = PurePosixPath(name)
    stem = PIECE.sub("", path.stem)
    return str(path.parent), NAMES.get(stem, stem)
