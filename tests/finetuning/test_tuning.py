"""Runs: what they write, that they follow from the seed, and that they go on exactly."""

import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import companion.finetuning.learner as learner
from companion.finetuning import FinetuneConfig, finetune, versions

Make = Callable[..., FinetuneConfig]
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora-and-words": {"text_encoder": True, "token": "<fox>", "vectors": 2},
    "textual-inversion": {"method": "textual_inversion", "initial_word": "cat"},
    "dreambooth": {
        "method": "dreambooth",
        "text_encoder": True,
        "prior_weight": 1.0,
        "prior_prompt": "a cat",
    },
}


@pytest.fixture(scope="module")
def begun(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> FinetuneConfig:
    """A run of two steps that is done."""
    config = FinetuneConfig(
        model=str(small_model),
        output_dir=str(tmp_path_factory.mktemp("begun") / "run"),
        num_pictures=3,
        image_size=16,
        rank=2,
        steps=2,
        train_batch_size=2,
        learning_rate=1e-2,
        checkpoint_every=1,
        progress_bar=False,
    )
    finetune(config)
    return config


def bytes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that a run leaves."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("changes", METHODS.values(), ids=METHODS)
def test_a_killed_run_ends_with_the_same_bytes(
    changes: dict[str, Any], tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune(tiny(output_dir=str(tmp_path / "whole"), save_every=3, **changes))

    loss = learner.Learner.loss

    def killed(self: learner.Learner, step: int) -> torch.Tensor:
        if step == 5:  # one step after the checkpoint of step 4
            raise KeyboardInterrupt
        return loss(self, step)

    config = tiny(output_dir=str(tmp_path / "cut"), save_every=3, resume=True, **changes)
    with monkeypatch.context() as patch:
        patch.setattr(learner.Learner, "loss", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(config)
    again = finetune(config)
    assert again.losses == whole.losses
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")
    assert list(versions(again.folder)) == [3]


def test_a_run_leaves_what_it_says(tiny: Make, tmp_path: Path) -> None:
    run = finetune(tiny(save_every=2, sample_every=3))
    assert run.folder == tmp_path / "run"
    assert run.steps == [1, 2, 3, 4, 5, 6]
    assert run.learning_rates == [1e-2] * 6
    assert run.seconds > 0
    assert list(run.versions) == [2, 4, 6]
    assert run.versions[6] == run.folder
    assert {path.name for path in run.folder.iterdir()} == {
        "README.md",
        "checkpoints",
        "log.csv",
        "pytorch_lora_weights.safetensors",
        "samples",
        "settings.json",
        "steps",
    }
    assert sorted(path.name for path in (run.folder / "samples").iterdir()) == [
        "000003.png",
        "000006.png",
    ]
    weights = load_file(run.folder / "pytorch_lora_weights.safetensors")
    assert run.weights == sum(weight.numel() for weight in weights.values())
    early = load_file(run.versions[2] / "pytorch_lora_weights.safetensors")
    assert all(not torch.equal(weights[name], early[name]) for name in weights)
    assert (run.folder / "log.csv").read_text().startswith("step,loss,learning_rate")


def test_what_is_learned_follows_from_the_seed(tiny: Make, tmp_path: Path) -> None:
    losses = [
        finetune(tiny(output_dir=str(tmp_path / name), seed=seed, steps=2)).losses
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_what_is_taught_is_learned_and_what_is_frozen_stays(tiny: Make) -> None:
    config = tiny(steps=60, num_pictures=1, learning_rate=3e-2, caption_dropout=0.0, snr_gamma=None)
    run = finetune(config)
    assert sum(run.losses[-20:]) < 0.97 * sum(run.losses[:20])


def test_a_longer_run_goes_on_where_the_shorter_one_ended(tiny: Make, tmp_path: Path) -> None:
    whole = finetune(tiny(output_dir=str(tmp_path / "whole"), steps=4))
    finetune(tiny(steps=2))
    longer = finetune(tiny(steps=4, resume=True))
    assert longer.losses == whole.losses
    name = "pytorch_lora_weights.safetensors"
    assert (longer.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    with pytest.raises(ValueError, match="is of step 4, but steps is 3: raise it"):
        finetune(tiny(steps=3, resume=True))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rank": 3}, "was made with rank = 2, but this run has 3"),
        ({"seed": 1}, "was made with seed = 0, but this run has 1"),
        ({"method": "dreambooth"}, "was made with method = 'lora'"),
        ({"dataset_name": "object:owl"}, "was made with dataset_name = 'object:fox'"),
        ({"num_pictures": 4}, "was made with num_pictures = 3"),
    ],
)
def test_a_run_goes_on_with_its_own_settings_only(
    changes: dict[str, Any], sentence: str, begun: FinetuneConfig
) -> None:
    with pytest.raises(ValueError, match=sentence):
        finetune(dataclasses.replace(begun, resume=True, steps=8, **changes))


def test_a_rate_may_change_and_is_said(begun: FinetuneConfig, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(begun.output_dir, copy)
    config = dataclasses.replace(
        begun, resume=True, steps=3, learning_rate=5e-3, output_dir=str(copy)
    )
    with pytest.warns(UserWarning, match=r"learning_rate = 0\.005 \(it was 0\.01\)"):
        assert finetune(config).learning_rates == [1e-2, 1e-2, 5e-3]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_there(
    begun: FinetuneConfig, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(begun.output_dir, copy)
    newest = copy / "checkpoints" / "checkpoint-00000002"
    weights = bytearray((newest / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (newest / "model.safetensors").write_bytes(weights)
    with pytest.raises(ValueError, match=r"damaged .*one before, checkpoint-00000001"):
        finetune(dataclasses.replace(begun, resume=True, output_dir=str(copy)))


def test_a_folder_of_another_run_or_of_the_reader_is_left_alone(
    begun: FinetuneConfig, tiny: Make, tmp_path: Path
) -> None:
    with pytest.raises(FileExistsError, match="holds a training run already"):
        finetune(begun)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "README.md").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds README\.md, which a run would replace"):
        finetune(tiny())
    assert (tmp_path / "run" / "README.md").read_text() == "mine"


def test_an_earlier_run_is_removed_where_that_is_asked(
    begun: FinetuneConfig, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(begun.output_dir, copy)
    (copy / "notes.txt").write_text("mine")
    config = dataclasses.replace(
        begun, method="textual_inversion", overwrite_output_dir=True, output_dir=str(copy)
    )
    finetune(config)
    names = {path.name for path in copy.iterdir()}
    assert "pytorch_lora_weights.safetensors" not in names
    assert {"notes.txt", "learned_embeds.safetensors"} <= names


def test_the_prior_is_drawn_once_and_kept(tiny: Make, tmp_path: Path) -> None:
    config = tiny(steps=1, prior_weight=1.0, prior_prompt="a cat")
    finetune(config)
    prior = tmp_path / "run" / "prior"
    assert sorted(path.name for path in prior.iterdir()) == [
        "0000.png",
        "0001.png",
        "metadata.jsonl",
    ]
    (prior / "0000.png").unlink()
    with pytest.raises(
        ValueError, match=r"prior/metadata.jsonl names 0000.png, which is not there"
    ):
        finetune(dataclasses.replace(config, resume=True, steps=2))


def test_a_run_that_was_killed_behind_its_prior_goes_on(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(steps=1, prior_weight=1.0, prior_prompt="a cat")

    def killed(self: learner.Learner, *examples: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learner.Learner, "look_at", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(config)
    drawn = (tmp_path / "run" / "prior" / "0000.png").stat().st_mtime_ns
    finetune(dataclasses.replace(config, resume=True))
    assert (tmp_path / "run" / "prior" / "0000.png").stat().st_mtime_ns == drawn
    assert (tmp_path / "run" / "log.csv").read_text().splitlines()[-1].startswith("1,")


def test_a_run_of_another_method_is_refused_by_that_alone(
    begun: FinetuneConfig, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(begun.output_dir, copy)
    other = dataclasses.replace(
        begun, method="dreambooth", output_dir=str(copy), rank=4, seed=1, resume=True
    )
    with pytest.raises(
        ValueError, match="made with method = 'lora', but this run has 'dreambooth':"
    ):
        finetune(other)


def test_a_result_without_checkpoints_is_not_replaced(
    begun: FinetuneConfig, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(begun.output_dir, copy)
    shutil.rmtree(copy / "checkpoints")
    before = bytes_of(copy)
    with pytest.raises(ValueError, match="but no checkpoint to go on from: use it as it is"):
        finetune(dataclasses.replace(begun, output_dir=str(copy), resume=True))
    assert bytes_of(copy) == before


def test_a_new_word_that_is_not_read_is_refused_and_a_cut_caption_is_said(
    tiny: Make, mine: Path
) -> None:
    far = "a cat " * 60
    with pytest.raises(ValueError, match="the new word <mine> does not lie among them: shorten"):
        finetune(tiny(dataset_name=str(mine), prompt=f"{far} <mine>", token="<mine>"))
    with pytest.warns(UserWarning, match="1 of the captions have more than 77 tokens"):
        finetune(tiny(dataset_name=str(mine), prompt=far, steps=1))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "~nosuch/x"}, "There is no model ~nosuch/x: no such user is known"),
        ({"model": "nowhere"}, "no folder nowhere|There is no folder"),
        ({"model": "classifier"}, "holds no model_index.json"),
        ({"model": "depth"}, "'depth' is no text-to-image model of the form of Stable Diffusion"),
        ({"prior_weight": 1.0}, "say with prior_prompt what"),
        ({"mixed_precision": "fp16"}, "needs a CUDA GPU"),
        ({"rank": 9}, "The rank is 9, but of a layer of 8 inputs"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_step(
    changes: dict[str, Any], sentence: str, tiny: Make
) -> None:
    if "fp16" in changes.values() and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        finetune(tiny(**changes))


def test_a_loss_that_is_no_number_ends_the_run_and_is_not_saved(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loss = learner.Learner.loss

    def broken(self: learner.Learner, step: int) -> torch.Tensor:
        return loss(self, step) * (float("nan") if step == 3 else 1)

    monkeypatch.setattr(learner.Learner, "loss", broken)
    with pytest.raises(
        FloatingPointError, match=r"The loss is nan at step 4 .*checkpoint-00000002"
    ):
        finetune(tiny())
    assert not (tmp_path / "run" / "pytorch_lora_weights.safetensors").exists()
