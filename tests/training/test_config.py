"""Settings: the tutorial's names, and one sentence a mistake."""

from pathlib import Path
from typing import Any

import pytest

import companion.training
from companion.training import TrainingConfig, load_config
from companion.training.config import explanations


def test_the_tutorials_settings_are_accepted_as_they_stand() -> None:
    config = TrainingConfig(
        image_size=128,
        train_batch_size=16,
        eval_batch_size=16,
        num_epochs=10,
        gradient_accumulation_steps=1,
        learning_rate=1e-4,
        lr_warmup_steps=500,
        save_image_epochs=2,
        save_model_epochs=30,
        mixed_precision="fp16",
        output_dir="ddpm-butterflies-128",
        push_to_hub=False,
        hub_private_repo=False,
        overwrite_output_dir=True,
        seed=0,
    )
    assert (config.image_size, config.mixed_precision) == (128, "fp16")


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ({"image_size": 0}, "image_size is 1 or more, but 0 was given"),
        ({"num_epochs": 2.5}, r"num_epochs is a whole number, but 2\.5 was given"),
        ({"learning_rate": "1e-4"}, "learning_rate is a number, but '1e-4' was given"),
        ({"learning_rate": float("nan")}, "learning_rate is above 0, but nan was given"),
        ({"train_batch_size": True}, "train_batch_size is a whole number, but True was given"),
        ({"mixed_precision": "half"}, "mixed_precision is one of 'no', 'fp16', 'bf16'"),
        ({"prediction_type": "noise"}, "prediction_type is one of 'epsilon', 'sample'"),
        ({"snr_gamma": -1.0}, "snr_gamma is above 0, or None"),
        ({"ema_decay": 1.0}, "ema_decay is 0 or more and below 1"),
        ({"kid_samples": 1}, "kid_samples is 0, or 2 or more"),
        ({"output_dir": " "}, "output_dir is not empty"),
        ({"push_to_hub": "yes"}, "push_to_hub is true or false, but 'yes' was given"),
        ({"model": 3}, "model is a table, but 3 was given"),
        ({"train_batch_size": 10**12}, "train_batch_size is 65,536 or less"),
        ({"image_size": 10**6}, "image_size is 4,096 or less"),
        ({"eval_batch_size": 2**16, "image_size": 1024}, "1,024 or less at this image_size"),
        ({"num_epochs": 10**30}, "num_epochs is 1,000,000,000 or less"),
        ({"seed": 10**5000}, "seed is .* or less, but a number of thousands of digits was given"),
        ({"learning_rate": 10**400}, r"learning_rate is 1e\+30 or less"),
        ({"weight_decay": float("inf")}, "weight_decay is 1,?e?.* or less, but inf was given"),
        ({"ema_decay": float("nan")}, "ema_decay is 0 or more, but nan was given"),
        ({"snr_gamma": float("inf")}, "snr_gamma is .* or less, or None, but inf was given"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm is above 0, but nan was given"),
        ({"output_dir": "a\0b"}, "output_dir is without control codes"),
    ],
)
def test_a_mistake_is_one_sentence(mistake: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TrainingConfig(**mistake)


def test_settings_come_from_a_file_and_can_be_changed(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("image_size = 64\nlearning_rate = 1\n[model]\nlayers_per_block = 1\n")
    config = load_config(file, seed=3)
    assert (config.image_size, config.learning_rate, config.seed) == (64, 1, 3)
    assert config.model == {"layers_per_block": 1}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learning_rat = 1", "unknown setting learning_rat; did you mean learning_rate?"),
        ("image_size = ", "is not toml"),
        ("image_size = " + "[" * 5000, "is not toml"),
        ("seed = 1" + "0" * 5000, "is not toml|seed is"),
        ("#" * 2**21, "longer than 1,048,576 bytes"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load_config(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no settings file .*none\.toml"):
        load_config(tmp_path / "none.toml")


def test_the_settings_file_in_the_package_can_be_read() -> None:
    file = Path(companion.training.__file__).with_name("flowers.toml")
    assert load_config(file).dataset_name == "scenes:flowers"


def test_every_setting_is_explained() -> None:
    text = str(TrainingConfig.__doc__)
    assert [name for name in vars(TrainingConfig()) if f" {name}: " not in text] == []
    assert list(explanations()) == list(vars(TrainingConfig()))
    assert explanations()["snr_gamma"].endswith(
        "min-SNR: 5); None for the plain mean squared error."
    )


def test_every_name_that_a_reader_imports_is_there() -> None:
    for name in companion.training.__all__:
        assert callable(getattr(companion.training, name))
        assert name in dir(companion.training)
    with pytest.raises(AttributeError, match=r"attribute '?paint"):
        _ = companion.training.paint
