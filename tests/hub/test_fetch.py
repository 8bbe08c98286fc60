"""`fetch`: only what is needed, whole, right and once; and a plan before it."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from companion.door import Checksum
from companion.hub import HubError, NoRoom, NotAllowed, fetch, find_endpoint
from companion.hub import plan as planning
from companion.hub.lookup import make_plan
from companion.hub.selection import select
from companion.hub.speed import measure_speed
from companion.hub.stock import checksum_matches
from companion.profile import source_folder
from companion.sources import ModelSource, sources, wanted
from faulty_hub import MODEL, WEIGHTS, FaultyHub, Shell


def test_only_the_files_of_the_chapter_are_fetched(hub: FaultyHub, cache: Path) -> None:
    (folder,) = fetch(2, "full", where=hub.address, progress=False).values()
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"model_index.json", "config.json", "scheduler_config.json", WEIGHTS}
    assert (folder / WEIGHTS).read_bytes() == (hub.folder / MODEL / WEIGHTS).read_bytes()


def test_what_is_there_is_not_fetched_again_and_nobody_is_asked(
    hub: FaultyHub, cache: Path
) -> None:
    first = fetch(2, "full", where=hub.address, progress=False)
    hub.log.clear()
    assert fetch(2, "full", where=hub.address, progress=False) == first
    assert hub.log == []


def test_the_library_finds_what_was_fetched_offline(hub: FaultyHub, cache: Path) -> None:
    from huggingface_hub import snapshot_download

    (folder,) = fetch(2, "full", where=hub.address, progress=False).values()
    commit = folder.name
    found = snapshot_download(MODEL, revision=commit, cache_dir=cache, local_files_only=True)
    assert Path(found) == folder


def test_what_the_library_fetched_is_found_offline(hub: FaultyHub, cache: Path) -> None:
    from huggingface_hub import snapshot_download

    commit = hub.commits[MODEL]
    found = snapshot_download(
        MODEL, revision=commit, cache_dir=cache, endpoint=hub.address, token=False
    )
    assert list(fetch(2, "full", where="offline").values()) == [Path(found)]


def test_offline_what_is_not_here_is_one_sentence(cache: Path) -> None:
    with pytest.raises(HubError, match=f"{MODEL} is not whole on this machine: fetch it with a"):
        fetch(2, "full", where="offline")


def test_a_folder_somebody_brought_along_is_an_endpoint(
    repositories: Path, hub: FaultyHub, cache: Path
) -> None:
    (folder,) = fetch(f"{MODEL}@main", where=str(repositories), progress=False).values()
    assert (folder / WEIGHTS).is_file()
    assert hub.log == []


@pytest.mark.parametrize("closed", ["config.json", "unet"])
def test_what_of_such_a_folder_cannot_be_read_is_named(
    repositories: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    folder = shutil.copytree(repositories, tmp_path / "brought") / MODEL
    (folder / "unet").mkdir()
    unreadable = str(folder / closed)

    def refuse(honest: Any) -> Any:
        def look(path: Any, *arguments: Any, **named: Any) -> Any:
            if str(path) == unreadable:
                raise PermissionError(13, "Permission denied", unreadable)
            return honest(path, *arguments, **named)

        return look

    monkeypatch.setattr(os, "scandir", refuse(os.scandir))
    monkeypatch.setattr(Path, "open", refuse(Path.open))
    with pytest.raises(HubError) as caught:
        fetch(f"{MODEL}@main", where=str(tmp_path / "brought"), progress=False)
    assert f"{unreadable} cannot be read (permission denied): let yourself read it" in str(
        caught.value
    )


def test_a_folder_that_has_not_what_is_asked_for_is_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(NotAllowed, match=rf"^the folder {tmp_path} has no google/ddpm-cat-256"):
        fetch(f"{MODEL}@main", where=str(tmp_path), progress=False)


def test_a_folder_is_reached_past_a_proxy(
    repositories: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    (folder,) = fetch(f"{MODEL}@main", where=str(repositories), progress=False).values()
    assert (folder / WEIGHTS).is_file()
    assert "no_proxy" not in os.environ


def test_a_dataset_is_fetched_and_loads(hub: FaultyHub, cache: Path) -> None:
    from datasets import load_dataset

    (folder,) = fetch("flowers", "full", where=hub.address, progress=False).values()
    data = load_dataset(str(folder), split="train", cache_dir=str(cache))
    assert data.num_rows == 6
    assert data[3]["image"].getpixel((0, 0)) == (120, 0, 0)


def test_the_profile_fetches_what_a_chapter_asks_for(
    hub: FaultyHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    source = sources("full")["denoiser"]
    assert (Path(source_folder(source)) / WEIGHTS).is_file()
    hub.stop_files()
    hub.log.clear()
    assert (Path(source_folder(source)) / WEIGHTS).is_file()
    assert hub.log == []


def test_what_is_here_in_part_only_is_not_taken_for_the_whole(
    hub: FaultyHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ModelSource(hub=MODEL, revision="main", files=("config.json", WEIGHTS))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    hub.refuse(404)
    with pytest.raises(FileNotFoundError, match="answers 404; try again later"):
        source_folder(source)
    fetch(f"{MODEL}@main", where=hub.address, progress=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = Path(source_folder(source))
    assert (folder / WEIGHTS).is_file()
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"127.0.0.1:9 refuses the connection"):
        source_folder(source)


def test_two_at_once_fetch_a_file_once(hub: FaultyHub, cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(fetch, 2, "full", where=hub.address, progress=False) for _ in range(2)]
        first, second = (run.result() for run in runs)
    assert first == second
    assert hub.sent() == 1_000_000


def test_the_librarys_own_check_finds_nothing_wrong(hub: FaultyHub, shell: Shell) -> None:
    assert shell("companion", "fetch", MODEL).returncode == 0
    verified = shell("hf", "cache", "verify", MODEL, "--revision", hub.commits[MODEL])
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "Verified 4 file(s)" in verified.stdout


@pytest.mark.slow
def test_from_pretrained_finds_a_fetched_model_by_its_id_without_a_network(
    hub: FaultyHub, cache: Path, tmp_path: Path
) -> None:
    from diffusers import UNet2DModel

    from companion.zoo import folder

    link = tmp_path / "served" / MODEL
    link.parent.mkdir(parents=True)
    link.symlink_to(folder("ddpm"))
    with type(hub)(tmp_path / "served", hub.commits) as zoo:
        fetch("denoiser", "full", where=zoo.address, progress=False)
    here = {"revision": hub.commits[MODEL], "cache_dir": cache, "local_files_only": True}
    fetched = UNet2DModel.from_pretrained(MODEL, **here)
    expected = UNet2DModel.from_pretrained(folder("ddpm")).state_dict()
    assert all(value.equal(expected[name]) for name, value in fetched.state_dict().items())


def test_the_plan_tells_files_bytes_and_room(hub: FaultyHub, cache: Path) -> None:
    plan = make_plan(wanted(2, "full"), find_endpoint(hub.address))
    lines = str(plan).splitlines()
    assert lines[0] == f"{MODEL} at 82ca0d5d: 4 files, 1 MB"
    assert lines[1].startswith(f"To fetch from {hub.address.removeprefix('http://')}: 1 MB, to")
    assert "are free" in lines[1]
    assert hub.requests("files") == []


def test_the_plan_tells_what_an_earlier_run_has_brought(hub: FaultyHub, cache: Path) -> None:
    hub.cut(after=600_000)
    hub.cut(after=0, times=5)
    with pytest.raises(HubError):
        fetch(2, "full", where=hub.address, progress=False)
    plan = make_plan(wanted(2, "full"), find_endpoint(hub.address))
    assert str(plan).splitlines()[0].endswith("1 MB, 600 kB here already")
    assert plan.to_fetch <= 400_000 + 200  # the small files may have come or not


def test_the_speed_is_measured_on_the_large_file(
    hub: FaultyHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion.hub.speed.WORTH_MEASURING", 0)
    plan = measure_speed(make_plan(wanted(2, "full"), find_endpoint(hub.address)))
    assert plan.speed is not None
    assert plan.speed > 0
    assert "a second, as measured: about" in str(plan)
    assert len(hub.requests("files")) == 1


def test_too_little_room_is_refused_before_the_first_byte(
    hub: FaultyHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning.Plan, "free", 500_000)
    with pytest.raises(NoRoom, match=r"has 500 kB free and 1 MB are needed: make room .* HF_HOME"):
        fetch(2, "full", where=hub.address, progress=False)
    assert hub.requests("files") == []


def test_too_little_room_on_the_system_disk_of_autodl_names_the_data_disk(
    hub: FaultyHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning.Plan, "free", 500_000)
    monkeypatch.setattr(planning, "small_disk", lambda: "set HF_HOME=/root/autodl-tmp/huggingface")
    with pytest.raises(NoRoom, match="are needed: set HF_HOME=/root/autodl-tmp/huggingface"):
        fetch(2, "full", where=hub.address, progress=False)


def test_a_file_of_a_wrong_size_in_the_cache_is_fetched_again(hub: FaultyHub, cache: Path) -> None:
    (folder,) = fetch(2, "full", where=hub.address, progress=False).values()
    with (folder / WEIGHTS).resolve().open("r+b") as stream:
        stream.truncate(10)
    fetch(2, "full", where=hub.address, progress=False)
    assert (folder / WEIGHTS).read_bytes() == (hub.folder / MODEL / WEIGHTS).read_bytes()


def test_a_small_file_has_the_sum_of_its_git_object(tmp_path: Path) -> None:
    file = tmp_path / "empty.json"
    file.write_bytes(b"hello\n")
    # `printf 'hello\n' | git hash-object --stdin`
    checksum = Checksum("ce013625030ba8dba906f756967f9e9ca394464a")
    assert checksum_matches(file, checksum)
    file.write_bytes(b"hellO\n")
    assert not checksum_matches(file, checksum)


def test_without_patterns_each_weight_comes_once() -> None:
    paths = [
        "README.md",
        "model_index.json",
        "v1-5-pruned-emaonly.ckpt",
        "v1-5-pruned.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.bin",
    ]
    assert select(paths) == [
        "README.md",
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.bin",
    ]
    assert select(["model_index.json", WEIGHTS]) == ["model_index.json", WEIGHTS]


def test_the_chapters_take_the_endpoint_that_a_variable_names(
    hub: FaultyHub,
    cache: Path,
    endpoints_are: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = sources("full")["denoiser"]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("COMPANION_ENDPOINT", hub.address)
    folder = source_folder(source)
    assert (Path(folder) / WEIGHTS).read_bytes() == (hub.folder / MODEL / WEIGHTS).read_bytes()
    endpoints_are("http://127.0.0.1:1")
    monkeypatch.setenv("COMPANION_ENDPOINT", "auto")  # of which none answers
    assert source_folder(source) == folder
    with pytest.raises(FileNotFoundError, match="No route to the hub works"):
        source_folder(sources("full")["upscaler"])
