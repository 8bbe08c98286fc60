"""The arguments of `train_loop`, made from the settings alone."""

import tomllib
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader

from .config import TrainingConfig
from .dataset import PictureDataset, picture_loader
from .loop import TrainingRun, train_loop
from .pictures import CHANNELS, load_pictures
from .processes import processes
from .schedule import cosine_schedule

TUTORIAL_MODEL = Path(__file__).with_name("tutorial_model.toml")


def train(config: TrainingConfig) -> TrainingRun:
    """Make the model, load as many channels of the pictures as it takes, and train it.

    Raises:
        What `load_pictures`, `make_model` and `train_loop` raise.
    """
    model = make_model(config)
    dataloader = make_dataloader(config, model.config.in_channels)
    optimizer = make_optimizer(config, model)
    return train_loop(
        config,
        model,
        make_noise_scheduler(config),
        optimizer,
        dataloader,
        cosine_schedule(config, optimizer, dataloader),
    )


def make_dataloader(config: TrainingConfig, channels: int = 3) -> DataLoader:
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
        leave_out=Path(config.output_dir),
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
    """The model of the settings; its first weights follow from the seed.

    Raises:
        ValueError: settings of which no model can be made.
    """
    settings = tomllib.loads(TUTORIAL_MODEL.read_text(encoding="utf-8")) | dict(config.model)
    torch.manual_seed(config.seed)
    try:
        model = UNet2DModel(**{"sample_size": config.image_size, **settings})
    except (TypeError, ValueError) as error:
        raise ValueError(f"No UNet2DModel can be made of the settings [model]: {error}.") from error
    channels = (model.config.in_channels, model.config.out_channels)
    if channels[0] not in CHANNELS or channels[0] != channels[1]:
        raise ValueError(
            f"The model has in_channels {channels[0]} and out_channels {channels[1]}, but pictures "
            "have 1 (grey), 3 (RGB) or 4 (RGBA): give both the same of these."
        )
    if config.kid_samples and channels[0] != 3:
        raise ValueError("The setting kid_samples is for pictures of 3 channels: set it to 0.")
    if model.class_embedding is not None:
        raise ValueError(
            "The model asks for classes, but this loop trains on pictures without any: leave "
            "num_class_embeds and class_embed_type out of the settings [model]."
        )
    halvings = 2 ** (len(model.config.block_out_channels) - 1)
    if config.image_size % halvings:
        raise ValueError(
            f"The setting image_size is {config.image_size}, but a model of "
            f"{len(model.config.block_out_channels)} blocks takes multiples of {halvings}."
        )
    return model


def make_noise_scheduler(config: TrainingConfig) -> DDPMScheduler:
    """The noise scheduler of the settings."""
    try:
        return DDPMScheduler(prediction_type=config.prediction_type, **config.scheduler)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"No DDPMScheduler can be made of the settings [scheduler]: {error}."
        ) from error


def make_optimizer(config: TrainingConfig, model: UNet2DModel) -> Optimizer:
    """AdamW whose step is one kernel for all weights."""
    return AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
