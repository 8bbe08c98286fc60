"""`companion train`."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, concatenate_datasets
from diffusers import DDPMPipeline

import companion.finetuning
import companion.training
from companion.cli import main, train
from companion.finetuning import FinetuneConfig
from companion.finetuning.config import ON_THE_COMMAND_LINE as TO_FINETUNE
from companion.local_hub import LocalHub
from companion.scenes import dataset, export_imagefolder
from companion.training import TrainingConfig
from companion.training.config import ON_THE_COMMAND_LINE, explanations

SETTINGS = """
image_size = 16
train_batch_size = 4
eval_batch_size = 4
num_epochs = 2
lr_warmup_steps = 1
sample_steps = 2
num_scenes = 16
progress_bar = false
{}
[model]
layers_per_block = 1
block_out_channels = [8, 8]
down_block_types = ["DownBlock2D", "DownBlock2D"]
up_block_types = ["UpBlock2D", "UpBlock2D"]
norm_num_groups = 4
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "settings.toml"
    file.write_text(SETTINGS.format('dataset_name = "scenes:flowers"'))
    return file


def test_a_folder_of_pictures_becomes_a_pipeline(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_imagefolder(tmp_path / "mine", range(8), subset="pets", image_size=16)
    out = tmp_path / "run"
    arguments = ["train", str(tmp_path / "mine"), "--config", str(settings), "--output", str(out)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("4 steps done, loss ")
    assert DDPMPipeline.from_pretrained(out).unet.config.sample_size == 16
    assert main(arguments) == 1
    assert "holds a training run already" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0


@pytest.mark.slow
def test_what_is_passed_over_is_said_without_the_place_in_the_code(
    settings: Path, tmp_path: Path
) -> None:
    export_imagefolder(tmp_path / "mine", range(1), subset="pets", image_size=16)
    (tmp_path / "mine" / "notes.pdf").touch()
    command = [sys.executable, "-m", "companion", "train", "mine", "--config", settings]
    settings.write_text(settings.read_text().replace("warmup_steps = 1", "warmup_steps = 9"))
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.stderr == (
        "companion: Not all in mine is a picture to learn from. Passed over: .pdf files (1); save "
        "drawings and raw photographs as JPEG or PNG to use them.\n"
        "companion: The setting lr_warmup_steps is 9, but the whole run has 2 optimiser steps: "
        "lower it, or train longer.\n"
    )


@pytest.mark.slow
def test_two_processes_of_torchrun_share_each_epoch(settings: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    out = tmp_path / "run"
    answer = subprocess.run(
        [*launch, "-m", "companion", "train", "--config", settings, "--output", out],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    # 16 pictures in batches of 4, two at a time, twice
    assert answer.stdout.startswith("4 steps done, loss ")
    assert answer.stdout.count("steps done") == 1
    assert DDPMPipeline.from_pretrained(out).unet.config.sample_size == 16


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("image_sise = 3", "unknown setting image_sise; did you mean image_size?"),
        ("bad_pictures = 'maybe'", "bad_pictures is one of 'fail', 'skip'"),
        ("dataset_name = './nowhere'", "There is no folder nowhere."),
        ("dataset_name = 'scenes:dragons'", "dragons"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, sentence: str
) -> None:
    settings.write_text(SETTINGS.format(more))
    out = tmp_path / "run"
    assert main(["train", "--config", str(settings), "--output", str(out)]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


@pytest.mark.slow
def test_a_dataset_of_the_hub_becomes_a_pipeline(settings: Path, tmp_path: Path) -> None:
    data = tmp_path / "hub" / "datasets" / "garden" / "flowers" / "data"
    data.mkdir(parents=True)
    pictures = dataset(8, subset="flowers", image_size=20).select_columns("image")
    spoiled = Dataset.from_list([{"image": {"bytes": b"?", "path": None}}], pictures.features)
    both = concatenate_datasets([pictures, spoiled])
    both.to_parquet(str(data / "train-00000-of-00001.parquet"))
    settings.write_text("bad_pictures = 'skip'\n" + settings.read_text())
    out = tmp_path / "run"
    command = [sys.executable, "-m", "companion", "train", "garden/flowers"]
    with LocalHub(tmp_path / "hub") as hub:
        done = subprocess.run(
            [*command, "--config", str(settings), "--output", str(out)],
            capture_output=True,
            text=True,
            env={
                **{
                    name: value for name, value in os.environ.items() if "proxy" not in name.lower()
                },
                "HF_ENDPOINT": hub.address,
                "HF_HOME": str(tmp_path / "home"),
                "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1",
            },
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 steps done")
    assert "Left out 1 of 9 pictures that cannot be read: garden/flowers, row 8" in done.stderr
    assert DDPMPipeline.from_pretrained(out).unet.config.sample_size == 16


@pytest.mark.slow
def test_the_same_command_trains_in_two_processes(settings: Path, tmp_path: Path) -> None:
    # On a CPU the launcher's own --cpu starts one process only.
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = ["-m", "companion", "train", "--config", str(settings), "--output"]
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", *launch, "--main_process_port", "0", *command, str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
    )
    assert done.returncode == 0, done.stderr
    rows = (out / "log.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 16 // (2 * 4)
    assert done.stdout.count("steps done") == 1
    DDPMPipeline.from_pretrained(out)


def options() -> dict[str, argparse.Action]:
    """What `companion train` takes, by the names of the settings."""
    commands = argparse.ArgumentParser().add_subparsers()
    train.add(commands)
    return {action.dest: action for action in commands.choices["train"]._actions}


def test_each_option_comes_from_the_settings() -> None:
    there = options()
    of = dict.fromkeys(ON_THE_COMMAND_LINE, TrainingConfig)
    of |= dict.fromkeys(TO_FINETUNE, FinetuneConfig)
    assert set(there) == {"help", "config", "method", *of}
    for name, kind in of.items():
        action, default = there[name], getattr(kind, name)
        told, meaning = str(action.help), explanations(kind)[name]
        assert told.startswith(meaning.split("`")[0].rstrip("."))
        assert default in (None, False) or f"(default: {default}" in told
    dashed = {option: name for name, action in there.items() for option in action.option_strings}
    for name in ("num_epochs", "train_batch_size", "image_size", "learning_rate", "seed"):
        assert dashed[f"--{name.replace('_', '-')}"] == name
    assert dashed["--mixed-precision"] == "mixed_precision"
    assert dashed["--output"] == "output_dir"


def test_another_setting_becomes_an_option_by_its_name_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train, "ON_THE_COMMAND_LINE", (*ON_THE_COMMAND_LINE, "snr_gamma"))
    action = options()["snr_gamma"]
    assert action.option_strings == ["--snr-gamma"]
    assert callable(action.type)
    assert action.type("5") == 5.0
    assert "signal-to-noise" in str(action.help)


@pytest.fixture
def trained_with(monkeypatch: pytest.MonkeyPatch) -> list[TrainingConfig]:
    """The settings that a command trains with, which here it does not."""
    seen: list[TrainingConfig] = []

    def note(config: TrainingConfig) -> None:
        seen.append(config)
        raise ValueError("Noted.")

    monkeypatch.setattr(companion.training, "train", note)
    return seen


def test_options_go_before_the_file_and_the_file_before_the_defaults(
    settings: Path, trained_with: list[TrainingConfig]
) -> None:
    words = "--num-epochs 7 --train-batch-size 2 --learning-rate 3e-4 --mixed-precision bf16"
    words += " --seed 5 --image-size 32 --dataset-split test --bad-pictures skip --output here"
    assert main(["train", "mine", "--config", str(settings), *words.split(), "--resume"]) == 1
    assert main(["train", "--config", str(settings)]) == 1
    assert main(["train", "--seed", "5"]) == 1
    found, plain, bare = trained_with
    assert (found.num_epochs, found.train_batch_size, found.learning_rate) == (7, 2, 3e-4)
    assert (found.mixed_precision, found.seed, found.image_size) == ("bf16", 5, 32)
    assert (found.dataset_name, found.dataset_split, found.bad_pictures) == ("mine", "test", "skip")
    assert (found.output_dir, found.resume, found.sample_steps) == ("here", True, 2)
    assert (plain.num_epochs, plain.dataset_name) == (2, "scenes:flowers")
    assert (plain.seed, plain.resume) == (0, False)
    assert bare == TrainingConfig(seed=5)


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--num-epochs", "ten"], 2, "argument --num-epochs: 'ten' is not a whole number"),
        (["--image-size", "64.0"], 2, "argument --image-size: '64.0' is not a whole number"),
        (["--seed", "9" * 5000], 2, "is not a whole number"),
        (["--learning-rate", "fast"], 2, "argument --learning-rate: 'fast' is not a number"),
        (["--mixed-precision", "half"], 2, "argument --mixed-precision: invalid choice: 'half'"),
        (["--num-epochs", "0"], 1, "companion: The setting num_epochs is 1 or more, but 0 was"),
        (["--learning-rate", "nan"], 1, "The setting learning_rate is above 0, but nan was given."),
        (["--image-size", "100000"], 1, "The setting image_size is 4,096 or less, but 100000 was"),
        (["--output", " "], 1, "The setting output_dir is not empty, but ' ' was given."),
    ],
)
def test_a_wrong_option_is_one_sentence(
    words: list[str],
    status: int,
    sentence: str,
    trained_with: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        ended: object = main(["train", *words])
    except SystemExit as stop:
        ended = stop.code
    said = capsys.readouterr().err.splitlines()
    assert ended == status
    assert sentence in said[-1]
    assert len(said) == 1 or status == 2  # there the usage stands before it
    assert not trained_with


@pytest.fixture
def taught_with(monkeypatch: pytest.MonkeyPatch) -> list[FinetuneConfig]:
    """The settings that a command fine-tunes with, which here it does not."""
    seen: list[FinetuneConfig] = []

    def note(config: FinetuneConfig) -> None:
        seen.append(config)
        raise ValueError("Noted.")

    monkeypatch.setattr(companion.finetuning, "finetune", note)
    return seen


def test_a_method_and_its_options_become_settings(
    taught_with: list[FinetuneConfig], tmp_path: Path
) -> None:
    main(["train", "--lora", "object:fox", "--output", "fox", "--rank", "4", "--text-encoder"])
    assert taught_with[0] == FinetuneConfig(
        dataset_name="object:fox", output_dir="fox", rank=4, text_encoder=True
    )
    file = tmp_path / "mine.toml"
    file.write_text('prompt = "a photo of <mine>"\ntoken = "<mine>"\nsteps = 50\n')
    main(["train", "mine", "--textual-inversion", "--config", str(file), "--steps", "60"])
    found = taught_with[1]
    assert (found.method, found.token, found.steps) == ("textual_inversion", "<mine>", 60)
    assert found.output_dir == "mine-textual-inversion"
    main(["train", "--dreambooth", "style:flat", "--prior-weight", "1", "--model", "here"])
    found = taught_with[2]
    assert (found.method, found.prior_weight, found.model) == ("dreambooth", 1.0, "here")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["scenes:pets", "--rank", "4"],
            "--rank is for teaching a model something new: add --lora",
        ),
        (["--lora", "object:fox", "--num-epochs", "4"], "--num-epochs does not go with --lora"),
        (["--lora", "object:wolf"], "There is no object 'wolf' in the atlas"),
        (["--lora", "nowhere"], "There is no folder nowhere"),
        (["--lora", "object:fox", "--rank", "0"], "The setting rank is 1 or more"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 1
    told = capsys.readouterr().err
    assert sentence in told
    assert len(told.splitlines()) == 1


def test_two_methods_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--lora", "--dreambooth", "object:fox"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_the_zoos_model_is_taught_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("train_batch_size = 1\nnum_pictures = 1\nprogress_bar = false\n")
    out = tmp_path / "fox"
    command = ["train", "--lora", "object:fox", "--config", str(file), "--output", str(out)]
    assert main([*command, "--steps", "1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("1 steps done, 89,600 weights trained, loss ")
    assert str(out) in told
    assert (out / "pytorch_lora_weights.safetensors").is_file()
    assert main([*command, "--steps", "2"]) == 1
    assert "holds a training run already" in capsys.readouterr().err
    assert main([*command, "--steps", "2", "--resume"]) == 0
    assert capsys.readouterr().out.startswith("2 steps done")
    assert (out / "log.csv").read_text().splitlines()[-1].startswith("2,")


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--lora", "object:fox", "--steps", "1", "--output", "out"],
        ["attend", "a cat on a blue background", "--steps", "1", "--out", "out"],
    ],
    ids=["train", "attend"],
)
def test_the_libraries_say_nothing_while_they_are_imported(
    command: list[str], tmp_path: Path
) -> None:
    """In a process of its own: they warn once, where torchvision is missing."""
    done = subprocess.run(
        [sys.executable, "-m", "companion", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "torchvision" not in done.stderr
    assert "out" in done.stdout
