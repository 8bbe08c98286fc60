"""The profile: found by itself, chosen by one variable, refused in one sentence."""

import copy
import os
import pickle
import re
import subprocess
import sys
import tomllib
from dataclasses import FrozenInstanceError, asdict, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import torch

import companion
from companion.profile import profile, source_folder
from companion.sources import PROFILES, ModelSource


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_small_is_the_default(monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> None:
    monkeypatch.delenv("COMPANION_PROFILE", raising=False)
    p = companion.profile()
    assert (p.name, p.device, p.dtype) == ("small", "cpu", torch.float32)
    assert (p.settings["text_to_image"]["height"], p.settings["text_to_image"]["width"]) == (64, 64)


def test_the_variable_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("COMPANION_PROFILE", "full")
    p = profile()
    assert (p.name, p.device, p.dtype) == ("full", "cuda", torch.float16)
    settings = p.settings["text_to_image"]
    assert (settings["height"], settings["num_inference_steps"], settings["guidance_scale"]) == (
        512,
        50,
        7.5,
    )


def test_a_profile_can_be_copied_pickled_and_written_as_a_dictionary(no_gpu: None) -> None:
    p = profile("small")
    assert copy.deepcopy(p) == pickle.loads(pickle.dumps(p)) == replace(p) == p
    assert asdict(p)["settings"] == p.settings


@pytest.mark.parametrize(("name", "size"), [("small", 16), ("full", 128)])
def test_chapter_5_trains_at_the_size_of_its_profile(
    monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    training = profile(name).settings["training"]
    halvings = 2 ** (len(training["model"]["block_out_channels"]) - 1)
    assert training["image_size"] == size
    assert size % halvings == 0


def test_an_unknown_profile_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPANION_PROFILE", "huge")
    with pytest.raises(
        ValueError, match=r"no profile 'huge'; set COMPANION_PROFILE to small or full"
    ):
        profile()


def test_full_without_a_gpu_is_refused_with_the_remedy(no_gpu: None) -> None:
    with pytest.raises(RuntimeError, match=r"needs a GPU .* COMPANION_PROFILE=small"):
        profile("full")


def test_every_hub_model_is_pinned_to_a_commit_and_sized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for source in profile("full").models.values():
        assert source.revision is not None
        assert len(bytes.fromhex(source.revision)) == 20
        assert source.bytes > 0
        assert not any(pattern in ("*", "**") for pattern in source.files)


def test_a_model_that_cannot_be_fetched_is_one_sentence(tmp_path: Path) -> None:
    # A process of its own: the hub library reads its variables when it is imported.
    code = (
        "from companion.profile import source_folder\n"
        "from companion.sources import ModelSource\n"
        "source = ModelSource(hub='google/ddpm-cat-256', revision='0' * 40, files=('x',))\n"
        "try: source_folder(source)\n"
        "except FileNotFoundError as error: print(error)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "0",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert "google/ddpm-cat-256 is not on this machine" in answer.stdout
    assert "127.0.0.1:9 refuses the connection" in answer.stdout
    assert "COMPANION_PROFILE=small" in answer.stdout
    assert answer.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["text_to_imag"], "no 'text_to_imag' among these settings; did you mean 'text_to_image'?"),
        (["text_to_image", "promt"], "'promt' among these settings; did you mean 'prompt'?"),
        (["zzz"], "There is no 'zzz' among these settings; there are: "),
    ],
)
def test_a_setting_that_is_not_there_is_one_sentence(names: list[str], says: str) -> None:
    settings = profile("small").settings
    with pytest.raises(KeyError, match=re.escape(says)):
        reduce(getitem, names, settings)
    assert settings.get("zzz") is None


def test_every_table_of_settings_stands_in_both_profiles() -> None:
    small, full = (
        tomllib.loads(PROFILES.read_text())[name]["settings"] for name in ("small", "full")
    )
    assert set(small) == set(full)


@pytest.mark.parametrize("name", ["small", "full"])
def test_the_words_of_chapter_6_stand_in_their_prompts(name: str) -> None:
    table = tomllib.loads(PROFILES.read_text())[name]
    attention = table["settings"]["attention"]
    prompt = table["settings"]["text_to_image"]["prompt"]
    assert attention["word"] in prompt
    assert all(word in attention["pair"] for word in attention["pair_words"])


def test_a_table_of_settings_needs_no_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "profiles.toml"
    table.write_text(PROFILES.read_text() + "[small.settings.no_chapter]\nshift = 3.0\n")
    monkeypatch.setattr("companion.sources.PROFILES", table)
    assert profile("small").settings["no_chapter"] == {"shift": 3.0}


def test_a_model_of_the_table_needs_no_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "profiles.toml"
    table.write_text(PROFILES.read_text() + "[small.models.another]\nzoo = 'ddpm'\n")
    monkeypatch.setattr("companion.sources.PROFILES", table)
    assert profile("small").another == profile("small").denoiser
    assert "another" in dir(profile("small"))


def test_a_model_that_the_profile_lacks_is_one_sentence() -> None:
    p = profile("small")
    with pytest.raises(AttributeError, match=r"small has no model 'vae'; it has: denoiser, "):
        _ = p.vae
    with pytest.raises(ValueError, match=r"small has no model 'vae'; it has: denoiser, "):
        p.folder("vae")


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        profile("small").name = "other"  # type: ignore[misc]


def test_what_one_profile_is_told_the_next_does_not_know() -> None:
    settings: dict[str, Any] = dict(profile("small").settings["training"])
    changed: Any = profile("small").settings["training"]
    changed.clear()
    assert profile("small").settings["training"] == settings


def test_importing_companion_is_light() -> None:
    code = (
        "import sys, companion, companion.scenes, companion.zoo\n"
        "import companion.attention, companion.training\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'datasets', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_the_small_models_are_folders_that_exist() -> None:
    p = profile("small")
    assert p.folder("denoiser") == p.denoiser == source_folder(ModelSource(zoo="ddpm"))
    for home in (p.stable_diffusion, p.upscaler, p.depth):
        assert (Path(home) / "model_index.json").exists()


@pytest.mark.parametrize(("name", "rounded"), [("small", False), ("full", True)])
def test_the_small_profile_computes_on_a_gpu_as_on_a_cpu(
    name: str, rounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(sys.modules["companion.profile"], "best_device", lambda: "cuda")
    profile(name)
    assert torch.backends.cudnn.allow_tf32 is rounded
