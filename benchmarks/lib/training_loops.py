"""The notes' training loop, the script's and ours, on the same pictures and first weights.

On a CPU the model and the pictures are those of chapter 5's small profile. On a CUDA GPU they are
the notes': 128x128, six blocks, 113.7 million parameters, batches of 16; scenes stand in for the
photographs.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from PIL import Image, ImageOps
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

from companion import scenes, training
from companion.scenes import HELD_OUT
from companion.sources import profile_table
from companion.training.pictures import to_square

CUDA = torch.cuda.is_available()
SETTINGS: dict[str, Any] = dict(
    profile_table("full" if CUDA else "small")[1]["settings"]["training"]
)
BATCH = SETTINGS["train_batch_size"]
PICTURES = 960
SHARED_FOLDER = "COMPANION_BENCHMARK_FOLDER"  # where several processes of one run meet


@dataclass(frozen=True)
class Outcome:
    """What a run leaves.

    Attributes:
        unet: the model for drawing, with averaged weights where the run has them.
        noise_scheduler: says how its predictions are to be read.
        steps: optimiser steps done.
        last: the model with its last weights.
    """

    unet: UNet2DModel
    noise_scheduler: DDPMScheduler
    steps: int
    last: UNet2DModel


def clock() -> float:
    """Seconds by the clock; with one thread on a CPU, those that this process had a core."""
    alone = not CUDA and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()


@cache
def dataset(pictures: int = PICTURES, first_seed: int = 0) -> Any:
    """Scenes of flowers as files in a `datasets.Dataset`, larger than what is trained on."""
    return scenes.dataset(
        pictures, subset="flowers", image_size=SETTINGS["file_size"], first_seed=first_seed
    ).select_columns("image")


@cache
def held_out(count: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures that no run sees, with noise and timesteps that are the same for every run."""
    images = torch.stack([to_square(i, size()) for i in dataset(count, HELD_OUT)["image"]])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape, generator=generator)
    return images / 127.5 - 1, noise, (torch.arange(count) * 1000) // count


def size() -> int:
    """Side of the pictures that are trained on."""
    return int(SETTINGS["image_size"])


def fresh_model() -> UNet2DModel:
    """The same first weights every time."""
    torch.manual_seed(0)
    return UNet2DModel(sample_size=size(), **SETTINGS["model"])


@contextmanager
def after_each_step(look: Callable[[torch.optim.Optimizer], None]) -> Iterator[None]:
    """Within, `look` gets the optimiser after each of its steps, in whatever loop."""
    hook = register_optimizer_step_post_hook(lambda optimizer, *_: look(optimizer))
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def held_out_error(run: Outcome, part: int = 32) -> tuple[float, float]:
    """Loss of the noise and error of the clean picture, which can be compared between types.

    Returns:
        Mean squared error of the noise that follows from the prediction, and root mean squared
        error of the x_0 that follows from it, cut to -1..1 as a sampler cuts it.
    """
    images, noise, timesteps = held_out()
    device = run.unet.device
    noise_losses, picture_losses = [], []
    for x, eps, t in zip(*(a.split(part) for a in (images, noise, timesteps)), strict=True):
        x, eps, t = x.to(device), eps.to(device), t.to(device)
        noisy = run.noise_scheduler.add_noise(x, eps, t)
        answer = run.unet(noisy, t).sample.float()
        alpha_bar = run.noise_scheduler.alphas_cumprod.to(device)[t].view(-1, 1, 1, 1)
        signal, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        kind = run.noise_scheduler.config.prediction_type
        if kind == "epsilon":
            guess, clean = answer, (noisy - sigma * answer) / signal
        elif kind == "sample":
            guess, clean = (noisy - signal * answer) / sigma, answer
        else:
            guess, clean = sigma * noisy + signal * answer, signal * noisy - sigma * answer
        noise_losses.append(F.mse_loss(guess, eps))
        picture_losses.append(F.mse_loss(clean.clamp(-1, 1), x))
    return (
        float(torch.stack(noise_losses).mean()),
        float(torch.stack(picture_losses).mean().sqrt()),
    )


def transformed(pictures: int, prepare: Callable[[Image.Image], Tensor]) -> Any:
    """The dataset with a transform that runs whenever an item is read."""
    data = dataset(pictures)
    return data.with_transform(
        lambda rows: {"images": [prepare(image.convert("RGB")) for image in rows["image"]]}
    )


def to_floats(image: Image.Image) -> Tensor:
    """Mirror by chance; then what torchvision's ToTensor and Normalize([0.5], [0.5]) give."""
    if torch.rand(()) < 0.5:
        image = ImageOps.mirror(image)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, 3).permute(2, 0, 1) / 127.5 - 1


def notes_loop(epochs: int, pictures: int = PICTURES) -> Outcome:
    """As the notes have it: squashed by PIL in every epoch, no workers, fp16 on a GPU, no EMA."""
    data = transformed(
        pictures, lambda image: to_floats(image.resize((size(), size()), Image.Resampling.BILINEAR))
    )
    return plain_loop(data, epochs, mixed_precision="fp16" if CUDA else "no", ema=False)


def script_loop(epochs: int, pictures: int = PICTURES) -> Outcome:
    """Settings of diffusers' train_unconditional.py: its AdamW, EMA of 0.9999, float32."""
    data = transformed(
        pictures,
        lambda image: to_floats(ImageOps.fit(image, (size(), size()), Image.Resampling.BILINEAR)),
    )
    adam = {"betas": (0.95, 0.999), "weight_decay": 1e-6, "eps": 1e-8}
    return plain_loop(data, epochs, mixed_precision="no", ema=True, **adam)


def plain_loop(data: Any, epochs: int, *, mixed_precision: str, ema: bool, **adam: Any) -> Outcome:
    """A loop on accelerate that looks at the loss after each step, and logs it."""
    AcceleratorState._reset_state()
    model, noise_scheduler = fresh_model(), DDPMScheduler(num_train_timesteps=1000)
    loader = DataLoader(data, batch_size=BATCH, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=SETTINGS["learning_rate"], **adam)
    steps = len(loader) * epochs
    schedule = get_cosine_schedule_with_warmup(optimizer, warm_up(steps), steps)
    with tempfile.TemporaryDirectory() as folder:
        accelerator = Accelerator(
            mixed_precision=mixed_precision, log_with="tensorboard", project_dir=folder
        )
        accelerator.init_trackers("run")
        model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
        unet = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        average = EMAModel(unet.parameters(), decay=0.9999, use_ema_warmup=True, power=0.75)
        average.to(accelerator.device)
        step = 0
        for _ in range(epochs):
            for batch in loader:
                clean = batch["images"]
                noise = torch.randn(clean.shape, device=clean.device)
                t = torch.randint(0, 1000, (len(clean),), device=clean.device)
                noisy = noise_scheduler.add_noise(clean, noise, t)
                with accelerator.accumulate(model):
                    loss = F.mse_loss(model(noisy, t, return_dict=False)[0], noise)
                    accelerator.backward(loss)
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
                if ema:
                    average.step(unet.parameters())
                logs = {"loss": loss.detach().item(), "lr": schedule.get_last_lr()[0]}
                accelerator.log(logs, step=step)
                step += 1
        accelerator.end_training()
        if ema:
            average.copy_to(unet.parameters())
        DDPMPipeline(unet=unet, scheduler=noise_scheduler).save_pretrained(folder)
    return Outcome(unet.eval(), noise_scheduler, step, unet)


def our_loop(epochs: int, pictures: int = PICTURES, **changes: Any) -> Outcome:
    """`companion.training` in bf16: in a short run nothing else lowers the loss, see `quality`."""
    return companion_loop(epochs, pictures, **{"mixed_precision": "bf16", **changes})


def companion_loop(epochs: int, pictures: int = PICTURES, **changes: Any) -> Outcome:
    """`companion.training.train_loop` without any trick, but for those in `changes`.

    `fused=False` and `on_device=False` undo what the package does by default.
    """
    fused, on_device = changes.pop("fused", True), changes.pop("on_device", True)
    steps = pictures // BATCH * epochs
    settings = {
        **{name: SETTINGS[name] for name in ("image_size", "train_batch_size", "learning_rate")},
        "num_epochs": epochs,
        "save_image_epochs": epochs,
        "lr_warmup_steps": warm_up(steps),
        "ema_decay": 0.0,
        "eval_batch_size": 1,
        "sample_steps": 1,
        "checkpoint_every": 0,
        "progress_bar": False,
        **changes,
    }
    with tempfile.TemporaryDirectory() as own:
        folder = Path(os.environ.get(SHARED_FOLDER, own)) / f"run-{epochs}-{pictures}"
        config = training.TrainingConfig(output_dir=str(folder), **settings)
        if on_device:
            pixels = torch.stack([to_square(i, size()) for i in dataset(pictures)["image"]])
            device = "cuda" if CUDA else "cpu"
            batch_size = config.train_batch_size
            loader = training.picture_loader(
                training.PictureDataset(pixels, device=device), batch_size
            )
        else:
            fit = partial(ImageOps.fit, size=(size(), size()), method=Image.Resampling.BILINEAR)
            data = transformed(pictures, lambda image: to_floats(fit(image)))
            loader = DataLoader(
                data, batch_size=config.train_batch_size, shuffle=True, drop_last=True
            )
        model, noise_scheduler = fresh_model(), training.make_noise_scheduler(config)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=0.01, fused=fused
        )
        schedule = training.cosine_schedule(config, optimizer, loader)
        run = training.train_loop(config, model, noise_scheduler, optimizer, loader, schedule)
        drawing = DDPMPipeline.from_pretrained(run.folder).unet.to(model.device)
    return Outcome(drawing.eval(), noise_scheduler, len(run.steps), model.eval())


def warm_up(steps: int) -> int:
    """The profile's warm-up, shorter in a short run."""
    return min(SETTINGS["lr_warmup_steps"], max(1, steps // 8))


LOOPS = {"the notes' loop": notes_loop, "train_unconditional.py": script_loop, "ours": our_loop}
