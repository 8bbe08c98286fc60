"""Settings of which nothing can be made are refused before the first step."""

from collections.abc import Callable
from typing import Any

import pytest

from companion.training import (
    TrainingConfig,
    train,
)

Make = Callable[..., TrainingConfig]
TWO = {
    "layers_per_block": 1,
    "block_out_channels": [8, 8],
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
}


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ({"model": {"block_out_channels": [8, 9]}}, "No UNet2DModel can be made"),
        ({"model": {"blocks": 3}}, "No UNet2DModel can be made.*blocks"),
        ({"scheduler": {"beta_schedule": "none"}}, "No DDPMScheduler can be made"),
        ({"model": {**TWO, "layers_per_block": 10**9}}, "layers_per_block is beyond"),
        ({"model": {**TWO, "block_out_channels": [2**19] * 2}}, "more than 10,000,000,000 weights"),
        ({"model": {**TWO, "block_out_channels": "8"}}, "block_out_channels cannot be '8', input"),
        ({"model": {**TWO, "norm_num_groups": 0}}, "No UNet2DModel can be made"),
        ({"model": {**TWO, "down_block_types": ["DownBlock2D", "Evil"]}}, "Evil"),
        ({"model": {**TWO, "num_class_embeds": 3}}, "training is unconditional"),
        ({"model": {**TWO, "out_channels": 6}}, "in_channels 3 and out_channels 6"),
        ({"model": {**TWO, "sample_size": 8}}, "leave sample_size out"),
        ({"scheduler": {"num_train_timesteps": 10**9}}, "num_train_timesteps is beyond"),
        ({"scheduler": {"beta_end": 7.0}}, "betas .* not between 0 and 1"),
        ({"scheduler": {"trained_betas": [0.1] * 10}}, "10 trained_betas for 1000 timesteps"),
        ({"scheduler": {"rescale_betas_zero_snr": True}}, "The last step .* is all noise"),
        ({"sample_steps": 1001}, "sample_steps is 1001, but the noise_scheduler has 1000"),
        ({"log_with": "abacus"}, "log_with is 'abacus', but has to be one of"),
        ({"image_size": 17}, "image_size is 17, but a model of 2 blocks takes multiples of 2"),
    ],
)
def test_settings_of_which_nothing_can_be_made_are_refused(
    tiny: Make, mistake: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        train(tiny(**mistake))
