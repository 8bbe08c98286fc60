"""Settings: one sentence a mistake."""

from pathlib import Path
from typing import Any

import pytest

import companion.finetuning
from companion.finetuning import FinetuneConfig, load_finetune_config
from companion.training.config import explanations


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ({"method": "lokr"}, "method is one of 'lora', 'textual_inversion', 'dreambooth'"),
        ({"layers": "some"}, "layers is one of 'all', 'cross', 'self'"),
        ({"rank": 0}, "rank is 1 or more, but 0 was given"),
        ({"rank": 2.5}, r"rank is a whole number, but 2\.5 was given"),
        ({"alpha": 0.0}, "alpha is above 0, but 0.0 was given"),
        ({"steps": True}, "steps is a whole number, but True was given"),
        ({"image_size": 60}, "image_size is a multiple of 8, but 60 was given"),
        ({"learning_rate": float("nan")}, "learning_rate is above 0, but nan was given"),
        ({"caption_dropout": 1.5}, "caption_dropout is 1 or less"),
        ({"prior_weight": -1.0}, "prior_weight is 0 or more"),
        ({"token": "a fox"}, "token is one word, without a blank, but 'a fox' was given"),
        ({"token": ""}, "token is not empty"),
        ({"prompt": "\ud800"}, "prompt holds bytes that are no UTF-8"),
        ({"initial_word": "cat"}, "initial_word is for a run with a token"),
        ({"method": "textual_inversion", "text_encoder": True}, "is for the other methods"),
        ({"method": "textual_inversion", "prior_weight": 1.0}, "is for the other methods"),
        ({"train_batch_size": 4096, "image_size": 2048}, "256 or less at this image_size"),
        ({"output_dir": "a\0b"}, "output_dir is without control codes"),
    ],
)
def test_a_mistake_is_one_sentence(mistake: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FinetuneConfig(**mistake)


def test_the_folder_and_the_rate_follow_from_data_and_method() -> None:
    assert FinetuneConfig().output_dir == "fox-lora"
    other = FinetuneConfig(dataset_name="object:palm tree", method="textual_inversion")
    assert other.output_dir == "palm-tree-textual-inversion"
    assert FinetuneConfig(dataset_name="/pictures/of my dog/", prompt="a").output_dir == (
        "of-my-dog-lora"
    )
    rates = {FinetuneConfig(method=name).rate for name in ("lora", "dreambooth")}
    assert len(rates) == 2
    assert FinetuneConfig(learning_rate=0.5).rate == 0.5


def test_a_file_gives_settings_and_a_change_goes_before_it(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('dataset_name = "object:owl"\nrank = 4\nalpha = 2\n')
    config = load_finetune_config(file, rank=6)
    assert (config.dataset_name, config.rank, config.alpha) == ("object:owl", 6, 2)
    file.write_text("ranc = 4\n")
    with pytest.raises(ValueError, match=r"unknown setting ranc; did you mean rank?"):
        load_finetune_config(file)


def test_every_setting_is_explained() -> None:
    assert list(explanations(FinetuneConfig)) == list(vars(FinetuneConfig()))


def test_every_name_that_a_reader_imports_is_there() -> None:
    for name in companion.finetuning.__all__:
        assert callable(getattr(companion.finetuning, name))
        assert name in dir(companion.finetuning)
