"""The training loop, with the tutorial's signature."""

import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import GradientAccumulationPlugin, LoggerType
from diffusers import DDPMScheduler, UNet2DModel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from .attention_on_cpu import attention_on_cpu
from .changes import describe
from .checkpoint import Checkpoints, Progress
from .compiling import compile_blocks
from .config import TrainingConfig
from .ema import make_ema
from .evaluation import Evaluation
from .log import Log, start_trackers
from .loss import diffusion_loss, draw_noise, gradient_norm, target
from .order import RepeatableItems, RunOrder, batches_an_epoch, repeatable
from .run_folder import prepared, run_folder
from .schedule import optimizer_steps, warn_if_too_long
from .upload import check_hub, push

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
    after any end. The same script runs in one process, or in several by `accelerate launch` or
    `torchrun`.

    Args:
        config: the settings.
        model: trained in place; it ends with the last weights, the pipeline has the averaged ones.
        noise_scheduler: adds the noise; its `prediction_type` is what the model learns.
        optimizer: over the model's parameters.
        train_dataloader: its batches have `images`, floats of shape (batch, channels, height,
            width) in -1..1.
        lr_scheduler: counted in optimiser steps, see `optimizer_steps`.

    Raises:
        ValueError: settings or arguments that do not fit together, or to the checkpoint.
        FileExistsError: `output_dir` holds a run, and neither `resume` nor `overwrite_output_dir`
            was set; or other files that a run would replace.
        BlockingIOError: another run is at work in `output_dir`.
        FloatingPointError: the loss is not a number any more.
        RuntimeError: the device has too little memory.
        OSError: a checkpoint, the pipeline or the upload failed.
    """
    check_hub(config)
    check_arguments(config, model, noise_scheduler)
    _warn_if_imitated(config)
    accelerator = _accelerator(config)
    train_dataloader, order, items = repeatable(train_dataloader, config.seed)
    batch_size = int(train_dataloader.batch_size or 1)
    steps = optimizer_steps(config, train_dataloader)
    if not steps:
        raise ValueError(
            f"The {len(items)} pictures do not fill a batch of {batch_size} in each of "
            f"{accelerator.num_processes} processes: lower train_batch_size, or set "
            "drop_last=False."
        )
    warn_if_too_long(lr_scheduler, steps)
    settings = describe(
        config,
        model,
        noise_scheduler,
        optimizer,
        lr_scheduler,
        items.dataset,
        batch_size=batch_size,
        processes=accelerator.num_processes,
        steps=steps,
    )
    main = accelerator.is_main_process
    with prepared(config) if main else nullcontext(run_folder(config)) as folder:
        accelerator.wait_for_everyone()
        run = _train(
            config,
            accelerator,
            folder,
            settings,
            model,
            noise_scheduler,
            optimizer,
            lr_scheduler,
            (train_dataloader, order, items),
        )
        accelerator.wait_for_everyone()
        if config.push_to_hub and main:
            push(config, folder, f"{config.num_epochs} epochs, {steps} steps")
    return run


def _train(
    config: TrainingConfig,
    accelerator: Accelerator,
    folder: Path,
    settings: dict[str, Any],
    unet: UNet2DModel,
    noise_scheduler: DDPMScheduler,
    own_optimizer: Optimizer,
    own_lr_scheduler: LRScheduler,
    data: tuple[DataLoader, RunOrder, RepeatableItems],
) -> TrainingRun:
    """The loop itself, in a folder that is the run's own."""
    train_dataloader, order, items = data
    batch_size = int(train_dataloader.batch_size or 1)
    batches, steps = batches_an_epoch(train_dataloader), optimizer_steps(config, train_dataloader)
    unet.to(accelerator.device)
    unet.train()
    if config.channels_last:
        unet.to(memory_format=torch.channels_last)
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    on_cpu = accelerator.device.type == "cpu" and config.mixed_precision != "no"
    attention = attention_on_cpu if on_cpu else nullcontext
    if config.compile:
        with attention():
            compile_blocks(unet, batch_size, PRECISION[config.mixed_precision])
    ema = make_ema(config, unet)
    model, optimizer, train_dataloader, lr_scheduler = accelerator.prepare(
        unet, own_optimizer, train_dataloader, own_lr_scheduler
    )
    pictures = batch_size * accelerator.num_processes  # a micro-batch, over all processes
    bar = tqdm(
        total=steps,
        desc=folder.name,
        unit="step",
        disable=not (config.progress_bar and accelerator.is_local_main_process),
    )
    try:
        checkpoints = Checkpoints(
            accelerator,
            folder / "checkpoints",
            settings,
            batches,
            unet,
            ema,
            own_optimizer,
            own_lr_scheduler,
        )
        progress, newest = Progress(), checkpoints.newest() if config.resume else None
        if newest is not None:
            progress = checkpoints.load(newest)
            bar.initial = bar.n = progress.step  # the time left counts from here
        sound = progress.step  # the last step whose weights are known to give numbers
        if ema is not None:
            ema.to(accelerator.device)
        start_trackers(accelerator, config, folder, progress.step)
        log = Log(
            accelerator,
            folder / "log.csv",
            progress.step,
            bar,
            pictures * config.gradient_accumulation_steps,
        )
        evaluation = Evaluation(
            config, accelerator, unet, noise_scheduler, ema, folder, items.dataset
        )

        def last_good() -> str:
            last = checkpoints.newest()
            return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"

        def write_log() -> None:
            losses = log.write(last_good())
            progress.loss_sum += sum(losses)
            progress.loss_count += len(losses)

        def require_sound() -> None:
            """Save nothing that a run could only go on from to no number: try a step, once."""
            nonlocal sound
            if sound == progress.step:
                return
            devices = [accelerator.device] if accelerator.device.type == "cuda" else []
            with torch.random.fork_rng(devices):  # dropout draws
                with attention():
                    predicted = unet(noisy, t, return_dict=False)[0]
                loss = diffusion_loss(predicted, wanted, t, noise_scheduler, config.snr_gamma)
                norm = gradient_norm(loss, unet)
            both = accelerator.reduce(torch.stack([loss.detach(), norm]), reduction="mean").tolist()
            where = f"batch {progress.batch} of epoch {progress.epoch + 1}"
            when = f"after step {progress.step} ({where}), whose weights are not saved"
            log.refuse_nonsense(both[0], both[1], when, last_good())
            sound = progress.step

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
                        if newest is not None:
                            checkpoints.require_moments(newest)
                            newest = None
                        norm = accelerator.clip_grad_norm_(unet.parameters(), config.max_grad_norm)
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
                    require_sound()
                    checkpoints.save(progress)
                    log.leave_out_time()
            write_log()
            if evaluation.due(progress.epoch):
                require_sound()
                evaluation.after_epoch(progress)
            log.leave_out_time()
            progress.epoch, progress.batch = progress.epoch + 1, 0
        checkpoints.save(progress)
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"The memory of the {accelerator.device.type} device does not suffice for batches of "
            f"{batch_size} pictures: lower train_batch_size and raise gradient_accumulation_steps "
            "by as much, set gradient_checkpointing, or begin with smaller pictures."
        ) from error
    finally:
        bar.close()
        for tracker in accelerator.trackers:
            tracker.finish()
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        vars(unet).pop("_is_accelerate_prepared", None)  # else it could not be trained again
    return TrainingRun(
        folder,
        [step for step, _, _ in log.rows],
        [loss for _, loss, _ in log.rows],
        [rate for _, _, rate in log.rows],
        progress.best,
    )


def check_arguments(
    config: TrainingConfig, model: UNet2DModel, noise_scheduler: DDPMScheduler
) -> None:
    """Refuse what would be found out after hours, or never.

    Raises:
        ValueError: settings that do not fit this machine or the noise scheduler.
    """
    kind = noise_scheduler.config.prediction_type
    if kind != config.prediction_type:
        raise ValueError(
            f"The noise_scheduler has prediction_type {kind!r}, but the settings say "
            f"{config.prediction_type!r}: give both the same."
        )
    timesteps = noise_scheduler.config.num_train_timesteps
    if config.sample_steps > timesteps:
        raise ValueError(
            f"The setting sample_steps is {config.sample_steps}, but the noise_scheduler has "
            f"{timesteps} timesteps (num_train_timesteps): lower sample_steps."
        )
    learned = model.config.time_embedding_type == "learned"
    if learned and model.config.num_train_timesteps < timesteps:
        raise ValueError(
            f"The model has learned embeddings for {model.config.num_train_timesteps} timesteps, "
            f"but the noise_scheduler has {timesteps}: give both the same num_train_timesteps."
        )
    kept = noise_scheduler.alphas_cumprod  # alpha_bar: how much of the picture each step keeps
    if len(kept) != timesteps:
        raise ValueError(
            f"The noise_scheduler has {len(kept)} trained_betas for {timesteps} timesteps: set "
            "num_train_timesteps to their number."
        )
    if not (kept.min() >= 0 and kept.max() <= 1):  # also where one is not a number
        raise ValueError(
            "The betas of the noise_scheduler are not between 0 and 1: see to beta_start, beta_end "
            "and trained_betas in [scheduler]."
        )
    if kind == "epsilon" and kept[-1] == 0:
        raise ValueError(
            "The last step of the noise_scheduler is all noise, and a model that predicts noise "
            "learns nothing there: set prediction_type to 'v_prediction' or 'sample', or see to "
            "rescale_betas_zero_snr and the betas."
        )
    _check_tracker(config.log_with)
    if config.mixed_precision == "fp16" and not torch.cuda.is_available():
        raise ValueError(
            "mixed_precision 'fp16' needs a CUDA GPU; take 'bf16', or 'no', on this machine."
        )


def _warn_if_imitated(config: TrainingConfig) -> None:
    imitated = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(
        including_emulation=False
    )
    if config.mixed_precision == "bf16" and imitated:
        warnings.warn(
            "This GPU has no bf16 of its own and imitates it slowly: take 'fp16' or 'no'.",
            stacklevel=3,
        )


def _check_tracker(name: str | None) -> None:
    """accelerate leaves out a tracker that is not installed, without a word."""
    known = [str(one.value) for one in LoggerType]
    if name is None or name == LoggerType.ALL.value:
        return
    if name not in known:
        raise ValueError(f"The setting log_with is {name!r}, but has to be one of {known}.")
    if name not in [str(getattr(one, "value", one)) for one in get_available_trackers()]:
        raise ValueError(
            f"The setting log_with is {name!r}, but that is not installed: install it with pip, or "
            "set log_with to 'tensorboard'."
        )


def _accelerator(config: TrainingConfig) -> Accelerator:
    AcceleratorState._reset_state()  # else a notebook could not train again in another precision
    return Accelerator(
        mixed_precision=config.mixed_precision,
        # As a plugin: the plain argument gives way to an environment variable.
        gradient_accumulation_plugin=GradientAccumulationPlugin(config.gradient_accumulation_steps),
        # Else it would step the schedule once a process, and not at all in steps left out.
        step_scheduler_with_optimizer=False,
        dataloader_config=DataLoaderConfiguration(non_blocking=True),
        log_with=config.log_with,
        project_dir=run_folder(config) / "logs",
    )


def _together(batch: int, batches: int, config: TrainingConfig) -> int:
    """How many micro-batches make the optimiser step that a micro-batch belongs to."""
    whole = config.gradient_accumulation_steps
    return min(whole, batches - batch // whole * whole)
