"""The arguments of `train_loop`, made from the settings alone."""

import tomllib
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader

from .arguments import checked_arguments
from .checks import check_arguments
from .config import TrainingConfig
from .dataset import PictureDataset, picture_loader
from .loop import TrainingRun, train_loop
from .order import generators_kept, processes
from .pictures import CHANNELS, load_pictures
from .run_folder import check_folder, run_folder
from .schedule import cosine_schedule
from .upload import check_hub

TUTORIAL_MODEL = Path(__file__).with_name("tutorial_model.toml")
DEEPEST = 64  # blocks, and layers in each
MOST_WEIGHTS = 10**10  # 40 GB, and as much again for each of gradients, two moments and average


def train(config: TrainingConfig) -> TrainingRun:
    """Make the model, load as many channels of the pictures as it takes, and train it.

    It raises what `load_pictures`, `make_model` and `train_loop` raise.
    """
    check_hub(config)
    check_folder(config)
    noise_scheduler, device = make_noise_scheduler(config), processes().device
    with generators_kept(device):
        if device.type == "cuda":
            torch.cuda.manual_seed(config.seed)
        torch.default_generator.manual_seed(config.seed)
        model = _new_model(config)  # after its first weights comes what dropout draws
        check_arguments(config, model, noise_scheduler)
        # The longest of all: what is wrong was said before.
        dataloader = make_dataloader(config, model.config.in_channels)
        optimizer = make_optimizer(config, model)
        schedule = cosine_schedule(config, optimizer, dataloader)
        return train_loop(config, model, noise_scheduler, optimizer, dataloader, schedule)


def make_dataloader(config: TrainingConfig, channels: int = 3) -> DataLoader[Any]:
    """A loader over all pictures of `dataset_name`, as bytes on the device or in main memory.

    Args:
        config: the settings.
        channels: of the model: 1 for grey, 3 for RGB, 4 for RGBA.
    """
    pixels = load_pictures(
        config.dataset_name,
        config.image_size,
        num_scenes=config.num_scenes,
        on_bad=config.bad_pictures,
        channels=channels,
        config_name=config.dataset_config_name,
        split=config.dataset_split,
        leave_out=run_folder(config),
    )
    device = processes().device if config.data_on_device else None
    try:
        dataset = PictureDataset(pixels, random_flip=config.random_flip, device=device)
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"The {len(pixels)} pictures take {pixels.numel() / 2**20:,.0f} MiB and do not fit on "
            "the device: set data_on_device to false."
        ) from error
    return picture_loader(dataset, config.train_batch_size)


def make_model(config: TrainingConfig) -> UNet2DModel:
    """The model of the settings; its first weights follow from the seed. Chapter 5, "The UNet".

    Raises:
        ValueError: settings of which no model can be made, or one that pictures do not fit.
        RuntimeError: too little memory.
    """
    with torch.random.fork_rng(devices=[]):  # the weights are made on the CPU
        torch.default_generator.manual_seed(config.seed)
        return _new_model(config)


def _new_model(config: TrainingConfig) -> UNet2DModel:
    """The model, with what torch's generator draws next as its first weights."""
    settings = tomllib.loads(TUTORIAL_MODEL.read_text(encoding="utf-8")) | checked_arguments(
        UNet2DModel, config.model, "model"
    )
    settings = {"sample_size": config.image_size, **settings}
    _try_model(settings, config.image_size)
    if config.kid_samples and settings.get("in_channels", 3) != 3:
        raise ValueError("The setting kid_samples is for pictures of 3 channels: set it to 0.")
    try:
        return UNet2DModel(**settings)
    except RuntimeError as error:
        raise RuntimeError(
            "There is too little memory for the model of the settings [model]: lower its "
            "block_out_channels or layers_per_block."
        ) from error


def _try_model(settings: dict[str, Any], image_size: int) -> None:
    """Make the model without its memory, and see what it makes of a picture.

    Raises:
        ValueError: it cannot be made, or does not fit the training.
    """
    if settings["sample_size"] != image_size:
        raise ValueError(
            f"The settings [model] have the sample_size {settings['sample_size']}, but image_size "
            f"is {image_size}: leave sample_size out."
        )
    if settings["layers_per_block"] > DEEPEST or len(settings["block_out_channels"]) > DEEPEST:
        raise ValueError(
            f"The settings [model] have more than {DEEPEST} layers_per_block or blocks: lower them."
        )
    try:
        with torch.device("meta"), torch.no_grad():
            model = UNet2DModel(**settings)
    except Exception as error:  # of many kinds: each block checks, or fails, in its own way
        raise ValueError(
            f"No UNet2DModel can be made of the settings [model]: {_first_line(error)}."
        ) from error
    halvings = 2 ** (len(settings["block_out_channels"]) - 1)
    if image_size % halvings:
        raise ValueError(
            f"The setting image_size is {image_size}, but a model of "
            f"{len(settings['block_out_channels'])} blocks takes multiples of {halvings}."
        )
    if model.config.class_embed_type or model.config.num_class_embeds:
        raise ValueError(
            "The settings [model] ask for classes (class_embed_type, num_class_embeds), but "
            "training is unconditional: leave them out."
        )
    channels = (model.config.in_channels, model.config.out_channels)
    if channels[0] not in CHANNELS or channels[0] != channels[1]:
        raise ValueError(
            f"The model has in_channels {channels[0]} and out_channels {channels[1]}, but pictures "
            "have 1 (grey), 3 (RGB) or 4 (RGBA): give both the same of these."
        )
    if sum(weights.numel() for weights in model.parameters()) > MOST_WEIGHTS:
        raise ValueError(
            f"The settings [model] make a model of more than {MOST_WEIGHTS:,} weights: lower its "
            "block_out_channels or layers_per_block."
        )
    picture = torch.zeros(1, model.config.in_channels, image_size, image_size, device="meta")
    try:
        with torch.no_grad(), torch.device("meta"):
            predicted = model(picture, 0, return_dict=False)[0]
    except Exception as error:
        raise ValueError(
            f"The UNet2DModel of the settings [model] takes no picture: {_first_line(error)}."
        ) from error
    if predicted.shape != picture.shape:
        raise ValueError(
            f"The UNet2DModel of the settings [model] makes {tuple(predicted.shape[1:])} of a "
            f"picture of {tuple(picture.shape[1:])}: give it as many out_channels as in_channels."
        )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def make_noise_scheduler(config: TrainingConfig) -> DDPMScheduler:
    """The noise scheduler of the settings. Chapter 5, "The scheduler, and noise".

    Raises:
        ValueError: settings of which none can be made.
    """
    settings = checked_arguments(DDPMScheduler, config.scheduler, "scheduler")
    if "prediction_type" in settings:
        raise ValueError(
            "The settings [scheduler] have a prediction_type: give it as a setting of the run."
        )
    try:
        return DDPMScheduler(prediction_type=config.prediction_type, **settings)
    except Exception as error:  # of many kinds, from torch and numpy
        raise ValueError(
            f"No DDPMScheduler can be made of the settings [scheduler]: {_first_line(error)}."
        ) from error


def make_optimizer(config: TrainingConfig, model: UNet2DModel) -> Optimizer:
    """AdamW whose step is one kernel for all weights."""
    return AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
