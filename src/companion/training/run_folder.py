"""The folder of a run: what is in it, whose it is, and what becomes of an earlier run there."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from filelock import FileLock, Timeout

from companion.door.locks import acquire

from .checkpoint import all_in
from .files import explained, fsync_tree, remove
from .log import is_log

LOCK = ".lock"
# What a run writes, by folder. What bears another name there is the reader's.
_WEIGHTS = r"config\.json|diffusion_pytorch_model\.safetensors"
_WRITTEN = {
    "samples": r"\d{4,}\.png",
    "unet": _WEIGHTS,
    "scheduler": r"scheduler_config\.json",
    "best/unet": _WEIGHTS,
    "best/scheduler": r"scheduler_config\.json",
    "best": r"model_index\.json",
    # of a run that fine-tunes
    "vae": _WEIGHTS,
    "text_encoder": r"config\.json|generation_config\.json|model\.safetensors",
    "tokenizer": r"(vocab|tokenizer|tokenizer_config|special_tokens_map)\.json|merges\.txt",
    "prior": r"\d{4,}\.png|metadata\.jsonl",
    "steps": r"\d{6,}",
    ".": r"best\.json|model_index\.json|log\.csv|README\.md|settings\.json"
    r"|pytorch_lora_weights\.safetensors|learned_embeds\.safetensors",
}
# What it leaves behind when it is killed: halves of checkpoints, pipelines and files.
_LEFT = {
    "checkpoints": r"\.checkpoint-\d{8,18}\.(new|removed)",
    "best": r"\.new-[a-z0-9_]{8}",
    "samples": r"\.companion-[0-9a-f]{16}\.tmp",  # of `save_with_settings`, as in the folder itself
    ".": r"\.new-[a-z0-9_]{8}|\.(log\.csv|best\.json)\.new|\.companion-[0-9a-f]{16}\.tmp",
}
_OF_TENSORBOARD = r"events\.out\.tfevents\..*|hparams\.yml"


class RunSettings(Protocol):
    """What settings say of a run's folder."""

    @property
    def output_dir(self) -> str:
        """The folder."""

    @property
    def resume(self) -> bool:
        """Whether to go on with the run that it holds."""

    @property
    def overwrite_output_dir(self) -> bool:
        """Whether to remove it first."""


def run_folder(config: RunSettings) -> Path:
    """The folder of the settings, with `~` written out.

    Raises:
        ValueError: it is the home of a user that there is not.
    """
    try:
        return Path(config.output_dir).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"The setting output_dir is {config.output_dir!r}, but there is no such home: write "
            "the folder out."
        ) from error


def check_folder(config: RunSettings) -> None:
    """Refuse a folder that a run may not use; nothing is made or removed.

    Raises:
        FileExistsError: it holds a run, and the settings say neither `resume` nor
            `overwrite_output_dir`; or it holds files of another origin that a run would replace.
        NotADirectoryError: it is no folder.
    """
    folder = run_folder(config)
    try:
        if os.path.lexists(folder) and not folder.is_dir():
            raise NotADirectoryError(f"{folder} is no folder: choose another output_dir.")
        holds_run = _holds_run(folder)
        if not holds_run:
            _refuse_others(folder, "neither checkpoints nor the log of a run")
    except OSError as error:
        if error.errno is None:
            raise  # a sentence of ours
        raise OSError(
            f"The folder {folder} cannot be looked into ({error.strerror}): choose another "
            "output_dir."
        ) from error
    if holds_run and not (config.resume or config.overwrite_output_dir):
        raise FileExistsError(
            f"The folder {folder} holds a training run already: resume goes on with it, "
            "overwrite_output_dir removes it, another output_dir leaves it alone."
        )


@contextmanager
def prepared(config: RunSettings) -> Iterator[Path]:
    """Make the folder and keep other runs out of it; an earlier run there is removed where the
    settings say so, and what a killed one left behind in any case.

    Raises:
        What `check_folder` raises.
        BlockingIOError: a run is at work there.
        OSError: it cannot be written to.
    """
    folder = run_folder(config)
    check_folder(config)
    with explained("folder of the run", folder, "nothing was changed"):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        check_folder(config)  # another may just have begun there
        with explained("folder of the run", folder, "no other files were touched"):
            if _holds_run(folder):
                _remove_named(folder, _LEFT)
                if not config.resume:
                    _remove_run(folder)
            (folder / "checkpoints").mkdir(exist_ok=True)
        if not config.resume:
            _refuse_others(folder, "it lies behind a link, so it was not removed")
        yield folder


def _holds_run(folder: Path) -> bool:
    return bool(all_in(folder / "checkpoints")) or is_log(folder / "log.csv")


def _refuse_others(folder: Path, but: str) -> None:
    others = list(_named(folder, _WRITTEN))
    if others:
        raise FileExistsError(
            f"The folder {folder} holds {others[0].relative_to(folder)}, which a run would "
            f"replace, but {but}: choose another output_dir."
        )


def _named(folder: Path, names: dict[str, str]) -> Iterator[Path]:
    """What is there by these names."""
    for place, pattern in names.items():
        if (folder / place).is_dir():
            for path in sorted((folder / place).iterdir()):
                if re.fullmatch(pattern, path.name):
                    yield path


def _remove_run(folder: Path) -> None:
    """Remove what a run wrote, and nothing else: not what is behind a link, nor other names."""
    for place in all_in(folder / "checkpoints"):
        remove(place)
    _remove_named(folder, _WRITTEN)
    emptied = [folder / place for place in _WRITTEN if place != "."]
    if not (folder / "logs").is_symlink():
        for root, _, files in os.walk(folder / "logs", topdown=False):  # follows no links
            for name in files:
                if re.fullmatch(_OF_TENSORBOARD, name):
                    Path(root, name).unlink()
            emptied.append(Path(root))
    for path in emptied:
        with suppress(OSError):  # a link, or something of the reader's is in it
            path.rmdir()


def _remove_named(folder: Path, names: dict[str, str]) -> None:
    inside = folder.resolve()
    for path in _named(folder, names):
        if not path.parent.resolve().is_relative_to(inside):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends."""
    lock = FileLock(folder / LOCK)
    try:
        acquire(lock, blocking=False)
    except Timeout as error:
        raise BlockingIOError(
            f"Another run is at work in the folder {folder}: wait for its end or stop it, or "
            "choose another output_dir."
        ) from error
    except OSError:
        with explained("folder of the run", folder, "nothing was changed"):
            raise
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):  # Windows removes it when it is free
                (folder / LOCK).unlink()  # while it is held: who waits for it looks again
        lock.release()


def save_pipeline(unet: UNet2DModel, noise_scheduler: DDPMScheduler, folder: Path) -> None:
    """Write a folder that `DDPMPipeline.from_pretrained` reads. Chapter 5, "Keep it, share it".

    All files but the weights are the same throughout a run, and the weights are one file: so the
    folder is a whole pipeline at every moment, before and after this one.

    Raises:
        OSError: it could not be written; an earlier pipeline is still there.
    """
    pipeline = DDPMPipeline(unet=unet, scheduler=noise_scheduler)
    publish(
        folder, "pipeline", lambda beside: pipeline.save_pretrained(beside, max_shard_size="1TB")
    )


def publish(folder: Path, what: str, write: Callable[[Path], object]) -> None:
    """Let files be written beside their places, then put them there, each at once.

    Args:
        folder: where to.
        what: what they are, for the sentence.
        write: writes them into a folder that it is given.

    Raises:
        OSError: they could not be written; earlier ones are still there.
    """
    with explained(what, folder, f"an earlier {what} and the checkpoints are still there"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as beside:
            write(Path(beside))
            fsync_tree(Path(beside))
            files = [path for path in Path(beside).rglob("*") if path.is_file()]
            # model_index.json last: it is what makes a folder a pipeline.
            for file in sorted(files, key=lambda path: (path.name == "model_index.json", path)):
                place = folder / file.relative_to(beside)
                place.parent.mkdir(parents=True, exist_ok=True)
                file.replace(place)
