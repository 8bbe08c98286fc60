"""Models that share parts: one whole folder in the cache, made once, checked, never half."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from companion.zoo import entries, folder, registry
from damage import flip_a_bit

SHARING = [name for name, entry in entries().items() if entry.shared]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    home = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    return home


def _files(home: Path) -> dict[str, int]:
    return {
        p.relative_to(home).as_posix(): p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file()
    }


def _made(cache: Path) -> list[str]:
    return sorted(p.name for p in (cache / "diffusers-notes").iterdir() if p.name != ".lock")


@pytest.mark.parametrize("name", SHARING)
def test_the_folder_holds_the_model_s_own_files_and_the_shared_parts(
    name: str, cache: Path
) -> None:
    home = folder(name)
    assert home.is_relative_to(cache)
    entry = entries()[name]
    assert (home / "model_index.json").read_bytes() == (
        entry.path / "model_index.json"
    ).read_bytes()
    for part, place in entry.shared.items():
        there = registry.WEIGHTS / place
        for source in [there] if there.is_file() else there.glob("*.safetensors"):
            copied = home / part if there.is_file() else home / part / source.name
            assert copied.read_bytes() == source.read_bytes()
    assert (home / "tokenizer" / "tokenizer.json").exists()


def test_it_is_made_once_and_found_again() -> None:
    first = folder("upscaler")
    files = _files(first)
    assert folder("upscaler") == first
    assert _files(first) == files


def _flip_a_bit(home: Path) -> None:
    flip_a_bit(home / "unet" / "diffusion_pytorch_model.safetensors")


def _add_a_shard(home: Path) -> None:
    """What `from_pretrained` takes in place of the weights beside it."""
    weights = home / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    shard = "diffusion_pytorch_model-00001-of-00001.safetensors"
    save_file({name: tensor * 0 for name, tensor in tensors.items()}, home / "unet" / shard)
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, shard)}
    (home / "unet" / f"{weights.name}.index.json").write_text(json.dumps(index))


def _link_a_file(home: Path) -> None:
    path = home / "unet" / "config.json"
    path.replace(home.parents[1] / "elsewhere.json")
    path.symlink_to(home.parents[1] / "elsewhere.json")


def _link_a_part(home: Path) -> None:
    (home / "unet").replace(home.parents[1] / "elsewhere")
    (home / "unet").symlink_to(home.parents[1] / "elsewhere")


def _link_the_folder(home: Path) -> None:
    home.replace(home.parents[1] / "elsewhere")
    home.symlink_to(home.parents[1] / "elsewhere")


def _put_a_file_there(home: Path) -> None:
    home.replace(home.parents[1] / "elsewhere")
    home.write_text("mine")


DAMAGES = {
    "a flipped bit": _flip_a_bit,
    "a shard more": _add_a_shard,
    "a pipe": lambda home: (
        (home / "model_index.json").unlink(),
        os.mkfifo(home / "model_index.json"),
    ),
    "a pipe more": lambda home: os.mkfifo(home / "unet" / "more"),
    "cut short": lambda home: (home / "unet" / "config.json").write_text("{"),
    "missing": lambda home: (home / "unet" / "config.json").unlink(),
    "a linked file": _link_a_file,
    "a linked part": _link_a_part,
    "a linked folder": _link_the_folder,
    "a file in its place": _put_a_file_there,
    "other letters": lambda home: (home / "unet" / "config.json").replace(
        home / "unet" / "Config.json"
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_is_not_exactly_the_registered_files_is_made_anew(
    damage: str, tmp_path: Path
) -> None:
    home = folder("depth")
    good = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    DAMAGES[damage](home)
    assert folder("depth") == home
    assert not home.is_symlink()
    there = {path: path.read_bytes() for path in home.rglob("*") if not path.is_dir()}
    assert there == good
    assert not any(path.is_symlink() for path in home.rglob("*"))


def test_the_shard_of_somebody_else_is_never_loaded() -> None:
    _add_a_shard(folder("depth"))
    unet = UNet2DConditionModel.from_pretrained(folder("depth") / "unet", use_safetensors=True)
    assert unet.conv_in.weight.abs().max() > 0


def test_what_a_reader_put_there_is_moved_aside_and_kept(cache: Path) -> None:
    home = folder("depth")
    (home / "unet" / "notes.txt").write_text("mine")
    thesis = cache / "thesis.txt"
    thesis.write_text("mine too")
    (home / "vae" / "config.json").unlink()
    (home / "vae" / "config.json").symlink_to(thesis)
    assert folder("depth") == home
    (notes,) = cache.rglob("notes.txt")
    assert notes.read_text() == "mine"
    assert not notes.is_relative_to(home)
    assert thesis.read_text() == "mine too"
    # Nothing of the 60 MB is kept twice.
    assert [p.name for p in notes.parents[2].rglob("*") if p.is_file()] == ["notes.txt"]


def test_what_a_kill_left_half_made_is_cleared_by_the_next_run(cache: Path) -> None:
    made = cache / "diffusers-notes"
    for name in (".new-ab12cd34", "depth-ab12_d34"):  # of this version, and of an earlier one
        (made / name / "fresh" / "unet").mkdir(parents=True)
        (made / name / "fresh" / "unet" / "config.json").write_text("{")
    os.utime(made / "depth-ab12_d34", (0, 0))
    home = folder("upscaler")
    assert _made(cache) == [home.name]


def test_what_only_looks_half_made_is_left_alone(cache: Path, tmp_path: Path) -> None:
    made = cache / "diffusers-notes"
    (made / ".new-reader" / "fresh").mkdir(parents=True)
    (made / ".new-reader" / "thesis.txt").write_text("mine")
    for empty in (".new-drafts", ".new-my_ideas", "my-thesis_20", "depth-maps_v2"):
        (made / empty).mkdir()
        os.utime(made / empty, (0, 0))
    (made / "my-pictures" / "fresh").mkdir(parents=True)
    os.utime(made / "my-pictures", (0, 0))
    (made / ".new-file").write_text("mine")
    mine = tmp_path / "mine"
    (mine / "fresh").mkdir(parents=True)
    (mine / "fresh" / "thesis.txt").write_text("mine")
    (made / ".new-link").symlink_to(mine)
    (made / "depth-ab12cd34" / "fresh").mkdir(parents=True)  # an earlier version may be at it
    home = folder("upscaler")
    assert set(_made(cache)) == {
        *(".new-drafts", ".new-file", ".new-link", ".new-my_ideas", ".new-reader"),
        *("depth-ab12cd34", "depth-maps_v2", "my-pictures", "my-thesis_20", home.name),
    }
    assert (mine / "fresh" / "thesis.txt").read_text() == "mine"


def test_a_killed_process_leaves_what_the_next_one_clears(cache: Path) -> None:
    code = (
        "import os, shutil, signal; from companion.zoo import folder\n"
        "stock = shutil.copyfile; count = iter(range(9))\n"
        "def copy(*paths):\n"
        "    stock(*paths)\n"
        "    if next(count) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "shutil.copyfile = copy; folder('upscaler')"
    )
    env = {**os.environ, "HF_HOME": str(cache)}
    killed = subprocess.run([sys.executable, "-c", code], env=env, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert [name[:5] for name in _made(cache)] == [".new-"]
    home = folder("upscaler")
    assert _made(cache) == [home.name]


def test_several_at_once_get_the_same_whole_folder(cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        homes = set(pool.map(folder, ["upscaler"] * 4))
    assert len(homes) == 1
    assert _made(cache) == [homes.pop().name]


def test_a_cache_that_cannot_be_written_is_one_sentence_with_the_remedy(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(PermissionError, match=r"The zoo's upscaler .* set HF_HOME to a folder"):
        folder("upscaler")


def test_a_missing_shared_file_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(entries()["stable-diffusion"].sha256, "text_encoder/gone.json", "0" * 64)
    with pytest.raises(FileNotFoundError, match=r"gone\.json.*install diffusers-notes again"):
        folder("upscaler")


def test_a_damaged_shared_file_is_one_sentence_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setitem(entries()["stable-diffusion"].sha256, "text_encoder/config.json", "0" * 64)
    with pytest.raises(FileNotFoundError, match=r"are damaged; install diffusers-notes again"):
        folder("upscaler")
    assert not _made(cache)
