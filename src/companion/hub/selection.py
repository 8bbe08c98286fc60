"""Which files of a repository are needed: the chapter's, or one copy of each weight."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

# Formats that hold the same weights again where a safetensors file lies beside them.
OTHER_FORMATS = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".onnx_data", ".pb")
VARIANT = re.compile(r"\.(fp16|bf16|non_ema|ema_only)(?=\.)")
# What Diffusers and Transformers call the weights of a folder.
LOADED = re.compile(r"^(diffusion_pytorch_model|model|pytorch_model)\b")


def select(paths: Iterable[str], patterns: Sequence[str] = ()) -> list[str]:
    """The paths that match one of the patterns, or without patterns one copy of each weight.

    Left out then are: other formats beside safetensors, variants (fp16, non_ema) beside the plain
    file, and at the top of a pipeline's folder the single-file checkpoints that hold it all again.
    """
    paths = list(paths)
    if patterns:
        return [path for path in paths if any(fnmatch(path, pattern) for pattern in patterns)]
    folders = {PurePosixPath(path).parent for path in paths if path.endswith(".safetensors")}
    pipeline = "model_index.json" in paths
    return [
        path
        for path in paths
        if not _again(PurePosixPath(path), folders, pipeline)
        and (VARIANT.sub("", path) == path or VARIANT.sub("", path) not in paths)
    ]


def _again(path: PurePosixPath, folders: set[PurePosixPath], pipeline: bool) -> bool:
    if path.suffix in OTHER_FORMATS and path.parent in folders:
        return True
    weights = path.suffix in (".safetensors", *OTHER_FORMATS)
    return pipeline and weights and len(path.parts) == 1 and not LOADED.match(path.name)
