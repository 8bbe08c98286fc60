"""Everything that the loop works with, made before its first step and put away after its last."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from diffusers import DDPMScheduler, UNet2DModel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from .attention_on_cpu import attention_on_cpu
from .changes import describe
from .checkpoint import Checkpoints, Progress
from .compiling import compile_blocks, room_to_compile
from .config import TrainingConfig
from .ema import make_ema
from .evaluation import Evaluation
from .log import Log, start_trackers
from .order import batches_an_epoch, generators_kept, repeatable
from .run import Run
from .run_folder import prepared, run_folder
from .schedule import optimizer_steps, warn_if_too_long

logger = logging.getLogger(__name__)

PRECISION = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@contextmanager
def set_up(
    config: TrainingConfig,
    unet: UNet2DModel,
    noise_scheduler: DDPMScheduler,
    optimizer: Optimizer,
    train_dataloader: DataLoader[Any],
    lr_scheduler: LRScheduler,
) -> Iterator[Run]:
    """Make what a run works with, in a folder that is the run's own; go on with an earlier run
    where the settings say so. At the end the generators and torch's limits are as before.

    Raises:
        What `train_loop` raises.
    """
    accelerator = make_accelerator(config)
    loader, order, items = repeatable(train_dataloader, config.seed)
    batch_size = int(loader.batch_size or 1)
    batches, steps = batches_an_epoch(loader), optimizer_steps(config, loader)
    if not steps:
        raise ValueError(
            f"The {len(items)} pictures do not fill a batch of {batch_size} in each of "
            f"{accelerator.num_processes} processes: lower train_batch_size, or set "
            "drop_last=False."
        )
    warn_if_too_long(lr_scheduler, steps)
    settings = describe(
        config,
        unet,
        noise_scheduler,
        optimizer,
        lr_scheduler,
        items.dataset,
        batch_size=batch_size,
        processes=accelerator.num_processes,
        steps=steps,
    )
    own = prepared(config) if accelerator.is_main_process else nullcontext(run_folder(config))
    room = room_to_compile(unet) if config.compile else nullcontext()
    with own as folder, room, generators_kept(accelerator.device):
        accelerator.wait_for_everyone()
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
        model, prepared_optimizer, prepared_loader, prepared_schedule = accelerator.prepare(
            unet, optimizer, loader, lr_scheduler
        )
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
                optimizer,
                lr_scheduler,
            )
            newest = checkpoints.newest() if config.resume else None
            progress = checkpoints.load(newest) if newest else Progress()
            bar.initial = bar.n = progress.step  # the time left counts from here
            if accelerator.is_main_process:
                logger.debug(
                    "%s on %s, %s processes, mixed precision %s: %d steps in %s, %d done",
                    type(unet).__name__,
                    accelerator.device,
                    accelerator.num_processes,
                    config.mixed_precision,
                    steps,
                    folder,
                    progress.step,
                )
            if ema is not None:
                ema.to(accelerator.device)
            start_trackers(accelerator, config, folder, progress.step)
            together = batch_size * accelerator.num_processes * config.gradient_accumulation_steps
            log = Log(accelerator, folder / "log.csv", progress, checkpoints, bar, together)
            evaluation = Evaluation(
                config, accelerator, unet, noise_scheduler, ema, folder, items.dataset
            )
            with warnings.catch_warnings():
                # A first step that fp16's scaler leaves out is no mistake in their order.
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
                yield Run(
                    config=config,
                    accelerator=accelerator,
                    folder=folder,
                    unet=unet,
                    noise_scheduler=noise_scheduler,
                    model=model,
                    optimizer=prepared_optimizer,
                    train_dataloader=prepared_loader,
                    lr_scheduler=prepared_schedule,
                    order=order,
                    items=items,
                    batch_size=batch_size,
                    batches=batches,
                    steps=steps,
                    attention=attention,
                    ema=ema,
                    checkpoints=checkpoints,
                    progress=progress,
                    log=log,
                    evaluation=evaluation,
                    sound=progress.step,
                )
        except torch.OutOfMemoryError as error:
            raise RuntimeError(
                f"The memory of the {accelerator.device.type} device does not suffice for batches "
                f"of {batch_size} pictures: lower train_batch_size and raise "
                "gradient_accumulation_steps by as much, set gradient_checkpointing, or begin with "
                "smaller pictures."
            ) from error
        finally:
            bar.close()
            for tracker in accelerator.trackers:
                tracker.finish()
            accelerator.unwrap_model(model, keep_fp32_wrapper=False)
            vars(unet).pop("_is_accelerate_prepared", None)  # else it could not be trained again


def fresh_accelerator(**settings: Any) -> Accelerator:
    """accelerate's view of the machine with these settings, whatever an earlier one was told."""
    AcceleratorState._reset_state()  # else a notebook could not train again in another precision
    return Accelerator(**settings)


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """accelerate's view of the machine, for this run's precision."""
    return fresh_accelerator(
        mixed_precision=config.mixed_precision,
        # As a plugin: the plain argument gives way to an environment variable.
        gradient_accumulation_plugin=GradientAccumulationPlugin(config.gradient_accumulation_steps),
        # Else it would step the schedule once a process, and not at all in steps left out.
        step_scheduler_with_optimizer=False,
        dataloader_config=DataLoaderConfiguration(non_blocking=True),
        log_with=config.log_with,
        project_dir=run_folder(config) / "logs",
    )
