"""Chapter 5: training an unconditional diffusion model.

from companion.training import TrainingConfig, train
train(TrainingConfig(dataset_name="my-pictures", image_size=64))
"""

from .assemble import make_dataloader, make_model, make_noise_scheduler, make_optimizer, train
from .config import TrainingConfig, load_config
from .dataset import PictureDataset, picture_loader
from .ema import averaged, make_ema
from .evaluation import draw
from .loop import TrainingRun, train_loop
from .loss import diffusion_loss, draw_noise, target
from .pictures import load_pictures
from .schedule import cosine_schedule, optimizer_steps

__all__ = [
    "PictureDataset",
    "TrainingConfig",
    "TrainingRun",
    "averaged",
    "cosine_schedule",
    "diffusion_loss",
    "draw",
    "draw_noise",
    "load_config",
    "load_pictures",
    "make_dataloader",
    "make_ema",
    "make_model",
    "make_noise_scheduler",
    "make_optimizer",
    "optimizer_steps",
    "picture_loader",
    "target",
    "train",
    "train_loop",
]
