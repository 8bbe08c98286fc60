"""Sample grids, scores, and the saved pipelines: what happens between two epochs."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.utils.data import Dataset

from companion.door.labels import save_labelled
from companion.figures import tile
from companion.metrics import kid
from companion.zoo.recognise import as_batch, scene_features

from .checkpoint import Progress
from .config import TrainingConfig
from .ema import averaged
from .files import explained, replace_text
from .order import seeded
from .run_folder import save_pipeline
from .upload import push


class Evaluation:
    """Draws, scores and saves after the epochs for which the settings say so.

    Args:
        config: the settings.
        accelerator: its main process does it all, the others wait.
        unet: the model that is trained.
        noise_scheduler: what it is trained with.
        ema: its averaged weights, or None.
        folder: of the run.
        dataset: whose pictures drawn ones are compared with.
    """

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        unet: UNet2DModel,
        noise_scheduler: DDPMScheduler,
        ema: EMAModel | None,
        folder: Path,
        dataset: Dataset[Any],
    ) -> None:
        self._config, self._accelerator = config, accelerator
        self._unet, self._noise_scheduler, self._ema = unet, noise_scheduler, ema
        self._folder = folder
        self._features = None
        if config.kid_samples and accelerator.is_main_process:
            self._features = features_of(dataset, config.kid_samples)

    def due(self, epoch: int) -> bool:
        """Whether anything is drawn or saved after an epoch, counted from 0."""
        config, done = self._config, epoch + 1
        every = (config.save_image_epochs, config.save_model_epochs)
        return done == config.num_epochs or any(done % epochs == 0 for epochs in every)

    def after_epoch(self, progress: Progress) -> None:
        """Draw, score and save what is due after the epoch that was just done."""
        config, done = self._config, progress.epoch + 1
        last = done == config.num_epochs
        sampling = last or done % config.save_image_epochs == 0
        saving = last or done % config.save_model_epochs == 0
        if not self.due(progress.epoch):
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
        with explained("sample grid", self._folder, "the checkpoints are still there"):
            (self._folder / "samples").mkdir(exist_ok=True)
            save_labelled(picture, self._folder / "samples" / f"{progress.epoch:04d}.png")
        for tracker in self._accelerator.trackers:
            if hasattr(tracker, "log_images"):
                pixels = (shown[:, :3] / 2 + 0.5).permute(0, 2, 3, 1).numpy()
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
            with explained("best.json", self._folder, "the checkpoints are still there"):
                replace_text(self._folder / "best.json", json.dumps(found, indent=1) + "\n")


@torch.no_grad()
def draw(
    unet: UNet2DModel,
    noise_scheduler: DDPMScheduler,
    count: int,
    *,
    steps: int,
    seed: int,
    batch_size: int = 64,
) -> Tensor:
    """Pictures from noise, by DDIM (Song et al. 2020): in 25 steps what DDPM takes 1000 for.

    By Diffusers' own steps, which know every prediction type; `companion.denoise.ddim`, chapter 2's
    loop, knows the noise only. Chapter 5, "Evaluation: a grid of samples".

    Args:
        unet: the model.
        noise_scheduler: what it was trained with.
        count: how many pictures.
        steps: denoising steps.
        seed: of the noise, which is drawn on the CPU.
        batch_size: pictures at one time.

    Returns:
        float32 on the CPU, (count, channels, height, width) in -1..1.
    """
    # "trailing" begins at the last timestep, where the picture is all noise; the default does not.
    sampler = DDIMScheduler.from_config(noise_scheduler.config, timestep_spacing="trailing")
    sampler.set_timesteps(steps)
    size, channels = unet.config.sample_size, unet.config.in_channels
    noise = torch.randn(
        (count, channels, size, size), generator=torch.Generator().manual_seed(seed)
    )
    drawn = []
    with torch.compiler.set_stance("force_eager"):  # other sizes than the blocks were compiled for
        for part in noise.split(batch_size):
            sample = part.to(unet.device)
            for t in sampler.timesteps:
                predicted = unet(sample, t.to(sample.device), return_dict=False)[0]
                sample = sampler.step(predicted, t, sample, return_dict=False)[0]
            drawn.append(sample.float().cpu().clamp(-1, 1))
    return torch.cat(drawn)


def features_of(dataset: Dataset[Any], count: int) -> Tensor:
    """Features of a dataset's first pictures: what drawn ones are compared with for KID."""
    count = min(count, len(dataset))  # type: ignore[arg-type]
    with seeded(0):  # flips: a resumed run comes here too
        images = torch.stack([dataset[index]["images"] for index in range(count)])
    return scene_features(as_batch(images))


def kid_to(features: Tensor, images: Tensor) -> float:
    """KID of pictures (batch, 3, height, width) in -1..1 to the features of others."""
    return kid(scene_features(as_batch(images)), features)
