"""The training loop, with the tutorial's signature."""

import json
import math
import shutil
import warnings
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from companion.zoo.attention_precision import attention_in_float32
from companion.zoo.pictures import tile

from .checkpoint import Checkpoints, Progress
from .compiling import compile_blocks
from .config import TrainingConfig
from .hub import push
from .log import Log
from .loss import diffusion_loss, target
from .noise import draw_noise
from .order import batches_an_epoch, repeatable
from .pipeline import save_pipeline
from .sampling import averaged, draw, features_of, kid_to
from .schedule import optimizer_steps, warn_if_too_long

PRECISION = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class TrainingRun:
    """What a run leaves behind.

    Attributes:
        folder: its folder; `DDPMPipeline.from_pretrained` reads it.
        steps: numbers of the optimiser steps, from 1.
        losses: mean loss of each step.
        learning_rates: learning rate of each step.
        best: lowest score of an evaluation: KID where it was measured, else the mean loss.
    """

    folder: Path
    steps: list[int]
    losses: list[float]
    learning_rates: list[float]
    best: float | None


def train_loop(
    config: TrainingConfig,
    model: UNet2DModel,
    noise_scheduler: DDPMScheduler,
    optimizer: Optimizer,
    train_dataloader: DataLoader,
    lr_scheduler: LRScheduler,
) -> TrainingRun:
    """Train an unconditional diffusion model; write samples, checkpoints and the pipeline.

    The loop of the Diffusers tutorial, "Train a diffusion model", made exact and able to go on
    after any end. The same script runs in one process, or in several by `accelerate launch`.

    Args:
        config: the settings.
        model: trained in place; it ends with the last weights, the pipeline has the averaged ones.
        noise_scheduler: adds the noise; its `prediction_type` is what the model learns.
        optimizer: over the model's parameters.
        train_dataloader: its batches have `images`, floats of shape (batch, channels, height,
            width) in -1..1.
        lr_scheduler: counted in optimiser steps, see `optimizer_steps`.

    Raises:
        ValueError: settings or arguments that do not fit together.
        FileExistsError: `output_dir` holds a run, and neither `resume` nor `overwrite_output_dir`
            was set.
        FloatingPointError: the loss is not a number any more.
        OSError: a checkpoint, the pipeline or the upload failed.
    """
    _check(config, noise_scheduler)
    AcceleratorState._reset_state()  # else a notebook could not train again in another precision
    folder = Path(config.output_dir)
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        # As a plugin: the plain argument gives way to an environment variable.
        gradient_accumulation_plugin=GradientAccumulationPlugin(config.gradient_accumulation_steps),
        # Else it would step the schedule once a process, and not at all in steps left out.
        step_scheduler_with_optimizer=False,
        dataloader_config=DataLoaderConfiguration(non_blocking=True),
        log_with=config.log_with,
        project_dir=folder / "logs",
    )
    if accelerator.is_main_process:
        _prepare_folder(config, folder)
    accelerator.wait_for_everyone()
    train_dataloader, order, items = repeatable(train_dataloader, config.seed)
    batches, steps = batches_an_epoch(train_dataloader), optimizer_steps(config, train_dataloader)
    if not steps:
        raise ValueError(
            f"The {len(items)} pictures do not fill a batch of {train_dataloader.batch_size} in "
            f"each of {accelerator.num_processes} processes: lower train_batch_size, or set "
            "drop_last=False."
        )
    warn_if_too_long(lr_scheduler, steps)

    unet = model.to(accelerator.device)
    unet.train()
    if config.channels_last:
        unet.to(memory_format=torch.channels_last)
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    batch_size = int(train_dataloader.batch_size or 1)
    if config.compile:
        compile_blocks(unet, batch_size, PRECISION[config.mixed_precision])
    parameters = [p for p in unet.parameters() if p.requires_grad]
    ema = None
    if config.ema_decay:
        ema = EMAModel(
            unet.parameters(),
            decay=config.ema_decay,
            use_ema_warmup=True,
            power=0.75,
            foreach=True,
        )
        accelerator.register_for_checkpointing(ema)
    model, optimizer, train_dataloader, lr_scheduler = accelerator.prepare(
        model, optimizer, train_dataloader, lr_scheduler
    )
    checkpoints = Checkpoints(
        accelerator,
        folder / "checkpoints",
        {
            "train_batch_size": batch_size,
            "gradient_accumulation_steps": config.gradient_accumulation_steps,
            "processes": accelerator.num_processes,
            "pictures": len(items),
            "seed": config.seed,
            "prediction_type": config.prediction_type,
            "ema": ema is not None,
        },
    )
    progress, newest = Progress(), checkpoints.newest()
    if config.resume and newest is not None:
        progress = checkpoints.load(newest)
    if ema is not None:
        ema.to(accelerator.device)
    _start_trackers(accelerator, config, folder, progress.step)
    bar = tqdm(
        total=steps,
        initial=progress.step,
        desc=folder.name,
        unit="step",
        disable=not (config.progress_bar and accelerator.is_local_main_process),
    )
    pictures = batch_size * accelerator.num_processes
    log = Log(
        accelerator,
        folder / "log.csv",
        progress.step,
        bar,
        pictures * config.gradient_accumulation_steps,
    )
    evaluation = _Evaluation(config, accelerator, unet, noise_scheduler, ema, folder, items)
    # On a CPU attention is up to four times as fast in float32 as in bfloat16, see benchmarks.
    on_cpu = accelerator.device.type == "cpu" and config.mixed_precision != "no"
    attention = attention_in_float32 if on_cpu else nullcontext

    def write_log() -> None:
        last = checkpoints.newest()
        losses = log.write(
            f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        )
        progress.loss_sum += sum(losses)
        progress.loss_count += len(losses)

    try:
        while progress.epoch < config.num_epochs:
            items.epoch = progress.epoch
            order.start_at(progress.epoch, progress.batch)
            step_loss = torch.zeros((), device=accelerator.device)
            for batch in train_dataloader:
                clean = batch["images"]
                if config.channels_last:
                    clean = clean.contiguous(memory_format=torch.channels_last)
                done = progress.epoch * batches + progress.batch
                noise, t = draw_noise(
                    clean,
                    noise_scheduler.config.num_train_timesteps,
                    seed=config.seed,
                    first=done * pictures + accelerator.process_index * batch_size,
                )
                noisy = noise_scheduler.add_noise(clean, noise, t)
                wanted = target(noise_scheduler, clean, noise, t)
                with accelerator.accumulate(model):
                    with attention():
                        predicted = model(noisy, t, return_dict=False)[0]
                    loss = diffusion_loss(predicted, wanted, t, noise_scheduler, config.snr_gamma)
                    # accelerate divides by the setting, but an epoch's last step may hold fewer.
                    share = 1 / _together(progress.batch, batches, config)
                    accelerator.backward(loss * share * config.gradient_accumulation_steps)
                    step_loss += loss.detach() * share
                    if accelerator.sync_gradients:
                        norm = accelerator.clip_grad_norm_(parameters, config.max_grad_norm)
                    optimizer.step()
                    optimizer.zero_grad()
                progress.batch += 1
                if not accelerator.sync_gradients:
                    continue
                progress.step += 1
                where = f"batch {progress.batch} of epoch {progress.epoch + 1}"
                rate = float(lr_scheduler.get_last_lr()[0])
                log.note(progress.step, where, rate, step_loss, norm)
                step_loss = torch.zeros_like(step_loss)
                with warnings.catch_warnings():
                    # A first step that fp16's scaler leaves out is no mistake in their order.
                    warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
                    lr_scheduler.step()
                if ema is not None:
                    ema.step(unet.parameters())
                if progress.step % config.log_every == 0:
                    write_log()
                if config.checkpoint_every and progress.step % config.checkpoint_every == 0:
                    write_log()
                    checkpoints.save(progress)
            write_log()
            evaluation.after_epoch(progress)
            progress.epoch, progress.batch = progress.epoch + 1, 0
        checkpoints.save(progress)
    finally:
        bar.close()
        for tracker in accelerator.trackers:
            tracker.finish()
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        vars(unet).pop("_is_accelerate_prepared", None)  # else it could not be trained again
    accelerator.wait_for_everyone()
    if config.push_to_hub and accelerator.is_main_process:
        push(config, folder, f"{progress.epoch} epochs, {progress.step} steps")
    numbers, losses, rates = zip(*log.rows, strict=True)
    return TrainingRun(folder, list(numbers), list(losses), list(rates), progress.best)


class _Evaluation:
    """Sample grids, scores, and the saved pipelines: what happens between two epochs."""

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        unet: UNet2DModel,
        noise_scheduler: DDPMScheduler,
        ema: EMAModel | None,
        folder: Path,
        items: Any,
    ) -> None:
        self._config, self._accelerator = config, accelerator
        self._unet, self._noise_scheduler, self._ema = unet, noise_scheduler, ema
        self._folder = folder
        self._features = None
        if config.kid_samples and accelerator.is_main_process:
            self._features = features_of(items.dataset, config.kid_samples)

    def after_epoch(self, progress: Progress) -> None:
        """Draw, score and save what is due after the epoch that was just done."""
        config, done = self._config, progress.epoch + 1
        last = done == config.num_epochs
        sampling = last or done % config.save_image_epochs == 0
        saving = last or done % config.save_model_epochs == 0
        if not (sampling or saving):
            return
        if self._accelerator.is_main_process:
            with averaged(self._unet, self._ema):
                if sampling:
                    self._sample(progress)
                if saving:
                    save_pipeline(self._unet, self._noise_scheduler, self._folder)
            if saving and config.push_to_hub and not last:
                self._push(f"{done} epochs, {progress.step} steps")
        if sampling:
            progress.loss_sum, progress.loss_count = 0.0, 0
        self._accelerator.wait_for_everyone()

    def _push(self, message: str) -> None:
        """Upload what is there so far; a hub that is away does not end a run of days."""
        try:
            push(self._config, self._folder, message)
        except OSError as error:
            warnings.warn(f"{error} Training goes on.", stacklevel=2)

    def _sample(self, progress: Progress) -> None:
        config = self._config
        count = max(config.eval_batch_size, config.kid_samples)
        images = draw(
            self._unet, self._noise_scheduler, count, steps=config.sample_steps, seed=config.seed
        )
        shown = images[: config.eval_batch_size]
        picture = tile(shown, columns=math.ceil(len(shown) ** 0.5))
        (self._folder / "samples").mkdir(exist_ok=True)
        picture.save(self._folder / "samples" / f"{progress.epoch:04d}.png")
        for tracker in self._accelerator.trackers:
            if hasattr(tracker, "log_images"):
                pixels = (shown / 2 + 0.5).permute(0, 2, 3, 1).numpy()
                kind = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({"samples": pixels}, step=progress.step, **kind)
        if self._features is not None:
            measure, score = "kid", kid_to(self._features, images[: config.kid_samples])
            self._accelerator.log({"kid": score}, step=progress.step)
        else:
            measure, score = "loss", progress.loss_sum / max(1, progress.loss_count)
        if progress.best is None or score < progress.best:
            progress.best = score
            save_pipeline(self._unet, self._noise_scheduler, self._folder / "best")
            found = {"step": progress.step, "epoch": progress.epoch, measure: score}
            (self._folder / "best.json").write_text(json.dumps(found, indent=1) + "\n")


def _check(config: TrainingConfig, noise_scheduler: DDPMScheduler) -> None:
    kind = noise_scheduler.config.prediction_type
    if kind != config.prediction_type:
        raise ValueError(
            f"The noise_scheduler has prediction_type {kind!r}, but the settings say "
            f"{config.prediction_type!r}: give both the same."
        )
    if config.mixed_precision == "fp16" and not torch.cuda.is_available():
        raise ValueError(
            "mixed_precision 'fp16' needs a CUDA GPU; take 'bf16', or 'no', on this machine."
        )


def _prepare_folder(config: TrainingConfig, folder: Path) -> None:
    """Make the folder of the run; an earlier run in it is gone on with, removed, or refused."""
    ours = ("checkpoints", "samples", "logs", "best", "unet", "scheduler")
    files = ("log.csv", "best.json", "model_index.json")
    there = any((folder / name).exists() for name in ("checkpoints", "log.csv", *files))
    if there and not config.resume:
        if not config.overwrite_output_dir:
            raise FileExistsError(
                f"The folder {folder} holds a training run already: resume goes on with it, "
                "overwrite_output_dir removes it, another output_dir leaves it alone."
            )
        for name in ours:
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in files:
            (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def _start_trackers(
    accelerator: Accelerator, config: TrainingConfig, folder: Path, done: int
) -> None:
    if config.log_with is None:
        return
    settings = {
        name: value if isinstance(value, (int, float, str)) else json.dumps(value)
        for name, value in asdict(config).items()
    }
    # Steps that a kill undid are taken out of the curves.
    extra = {"tensorboard": {"purge_step": done + 1}} if done else {}
    accelerator.init_trackers(folder.resolve().name, settings, extra)


def _together(batch: int, batches: int, config: TrainingConfig) -> int:
    """How many micro-batches make the optimiser step that a micro-batch belongs to."""
    whole = config.gradient_accumulation_steps
    return min(whole, batches - batch // whole * whole)
