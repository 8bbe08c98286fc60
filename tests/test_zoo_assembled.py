"""Models that share parts: one whole folder in the cache, made once, checked, never half."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import constants

from companion.zoo import entries, folder, registry

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
        for source in (registry.WEIGHTS / place).glob("*.safetensors"):
            assert (home / part / source.name).read_bytes() == source.read_bytes()
    assert (home / "tokenizer" / "tokenizer.json").exists()


def test_it_is_made_once_and_found_again() -> None:
    first = folder("upscaler")
    files = _files(first)
    assert folder("upscaler") == first
    assert _files(first) == files


@pytest.mark.parametrize("damage", ["changed", "deleted"])
def test_a_damaged_folder_is_made_anew(damage: str, cache: Path) -> None:
    home = folder("depth")
    broken = home / "unet" / "config.json"
    good = broken.read_bytes()
    broken.unlink()
    if damage == "changed":
        broken.write_bytes(good[:-2])
    assert folder("depth") == home
    assert broken.read_bytes() == good
    assert [path.name for path in (cache / "diffusers-notes").iterdir()] == [home.name]


def test_several_at_once_get_the_same_whole_folder(cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        homes = set(pool.map(folder, ["upscaler"] * 4))
    assert len(homes) == 1
    assert [path.name for path in (cache / "diffusers-notes").iterdir()] == [homes.pop().name]


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
    assert not list((cache / "diffusers-notes").iterdir())
