"""ModelScope as its own client knows it, on this machine: what is fetched from it, and what not."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from companion.cli import main
from companion.door import Untrusted
from companion.hub import HubError, NotAllowed, fetch, find_endpoint
from companion.hub.endpoints import MODELSCOPE
from companion.hub.modelscope import MOST, parse_listing, stand_in
from companion.local_hub import LocalModelScope
from companion.profile import source_folder
from companion.sources import ModelSource, sources
from faulty_hub import TOKEN, FaultyHub

HERE = "AI-ModelScope/stable-diffusion-v1-5"
HUBS = "CompVis/stable-diffusion-v1-4"
UNET = "unet/diffusion_pytorch_model.safetensors"
FILES = ("model_index.json", "unet/config.json", UNET, "v1-5-pruned.ckpt", "README.md")


class FaultyModelScope(FaultyHub, LocalModelScope):
    """ModelScope, into which a test puts faults."""


@pytest.fixture
def scope(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyHub]:
    """ModelScope with one model; the real client's variable says where."""
    for name in FILES:
        path = tmp_path / "served" / HERE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(300_000) if name == UNET else name.encode())
    with FaultyModelScope(tmp_path / "served", {}) as served:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", served.address)
        yield served
        served.over.set()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def get(what: str = HUBS) -> Path:
    (folder,) = fetch(what, "full", where=MODELSCOPE, progress=False).values()
    return folder


def test_a_model_of_the_book_comes_as_what_takes_its_place(scope: FaultyHub, cache: Path) -> None:
    folder = get()
    served = contents(scope.folder / HERE)
    assert contents(folder) == {name: served[name] for name in FILES[:3]}  # what the chapters load
    assert "models--AI-ModelScope--stable-diffusion-v1-5" in folder.parts


def test_it_does_not_lie_where_the_hubs_models_do(scope: FaultyHub, cache: Path) -> None:
    assert "modelscope" in get().parts
    assert not cache.exists() or not list(cache.iterdir())


def test_what_is_here_is_not_fetched_again(scope: FaultyHub) -> None:
    first = get()
    sent = scope.sent()
    assert get() == first
    assert scope.sent() == sent


def test_the_plan_says_what_it_is_and_that_it_was_never_tried(
    scope: FaultyHub, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["fetch", "3", "--profile", "full", "--endpoint", MODELSCOPE]
    assert main([*given, "--plan"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(HERE)
    assert f"In place of {HUBS}: Stable Diffusion 1.5" in told
    assert "never tried with the real one" in told
    assert main(given) == 0
    assert "export COMPANION_ENDPOINT=modelscope" in capsys.readouterr().out


def test_the_chapters_find_it_by_a_setting_and_offline_too(
    scope: FaultyHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPANION_ENDPOINT", MODELSCOPE)
    source = sources("full")["stable_diffusion"]
    folder = source_folder(source)
    scope.stop()
    assert source_folder(source) == folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert source_folder(source) == folder


def test_what_was_not_found_there_is_said_before_anybody_is_asked(scope: FaultyHub) -> None:
    with pytest.raises(NotAllowed, match=r"google/ddpm-cat-256 was not found on ModelScope: take"):
        get("denoiser")
    with pytest.raises(NotAllowed, match="is a dataset, and only models are fetched from"):
        get("flowers")
    assert scope.log == []


def test_an_id_of_the_readers_own_is_asked_for_as_it_is(scope: FaultyHub) -> None:
    assert set(contents(get(HERE))) == {"model_index.json", "unet/config.json", UNET, "README.md"}
    with pytest.raises(NotAllowed, match=r"answers 404: it has no some/model, .* take another end"):
        get("some/model")


def test_no_token_is_ever_sent(scope: FaultyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch(HUBS, "full", where=MODELSCOPE, progress=False, send_token=True)
    assert scope.heard
    assert not any(TOKEN in str(request.headers) for request in scope.heard)


def test_sent_on_to_another_host_the_remedy_is_modelscopes(scope: FaultyHub) -> None:
    scope.refuse(302, host="hub", times=9, Location="http://127.0.0.1:9/elsewhere")
    with pytest.raises(HubError) as raised:
        get()
    assert "if it is ModelScope's own, set MODELSCOPE_ENDPOINT to it" in str(raised.value)
    assert "HF_ENDPOINT" not in str(raised.value)


def test_a_cut_file_goes_on_and_a_damaged_one_is_refused(scope: FaultyHub) -> None:
    scope.cut(100_000)
    assert contents(get())[UNET] == (scope.folder / HERE / UNET).read_bytes()
    shutil.rmtree(get().parents[1])
    scope.flip(times=2)
    with pytest.raises(HubError, match=r"damaged, twice"):
        get()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"Path": "../../.bashrc"}, "leads out of its folder"),
        ({"Path": "/etc/passwd"}, "not relative"),
        ({"Sha256": ""}, "is no checksum"),
        ({"Sha256": "0" * 40}, "tells no SHA-256"),
        ({"Size": -1}, "is no size"),
        ({"Size": None}, "is no size"),
    ],
)
def test_what_cannot_be_right_is_refused(
    scope: FaultyHub, change: dict[str, Any], sentence: str
) -> None:
    def spoil(told: Any) -> None:
        entry = next(e for e in told["Data"]["Files"] if e["Path"] == UNET)
        entry.update(change)

    scope.tell(spoil)
    with pytest.raises(HubError, match=sentence):
        get()
    assert scope.sent() == 0


def test_an_answer_without_files_and_a_list_that_may_be_cut_are_refused() -> None:
    for body in (b'{"Code": 404, "Success": false, "Data": null}', b"<html>"):
        with pytest.raises(Untrusted, match="The list of files cannot be read"):
            parse_listing(body)
    entry = '{"Path": "%d", "Type": "blob", "Size": 1, "Sha256": "%064x"}'
    entries = ",".join(entry % (number, number) for number in range(MOST))
    with pytest.raises(Untrusted, match="leaves out the rest"):
        parse_listing(b'{"Data": {"Files": [%s]}}' % entries.encode())


def test_the_sum_in_place_of_a_commit_is_the_contents_own() -> None:
    def commit(*entries: str) -> str:
        files = ",".join(f'{{"Size": 1, "Type": "blob", {entry}}}' for entry in entries)
        return parse_listing(b'{"Data": {"Files": [%s]}}' % files.encode()).commit

    a, b = (f'"Path": "{name}", "Sha256": "{name * 64}"' for name in "ab")
    assert commit(a, b) == commit(b, a) != commit(a)


def test_a_branch_of_the_readers_own_is_kept() -> None:
    assert stand_in(ModelSource(hub="a/b", revision="v1.0.8"))[0].revision == "v1.0.8"
    assert stand_in(ModelSource(hub="a/b", revision="main"))[0].revision == "master"


def test_a_wrong_address_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "modelscope cn")
    with pytest.raises(ValueError, match="MODELSCOPE_ENDPOINT cannot be read as an address"):
        find_endpoint(MODELSCOPE)
    monkeypatch.delenv("MODELSCOPE_ENDPOINT")
    assert find_endpoint(MODELSCOPE).address == "https://modelscope.cn"


def test_the_stock_client_downloads_from_it(scope: FaultyHub, tmp_path: Path) -> None:
    if shutil.which("modelscope") is None:
        pytest.skip("modelscope is not installed: pip install modelscope")
    command = ["modelscope", "download", "--model", HERE, "--local_dir", str(tmp_path / "here")]
    variables = {"HOME": str(tmp_path), "MODELSCOPE_CACHE": str(tmp_path / "cache")}
    subprocess.run(command, env={**os.environ, **variables}, check=True, capture_output=True)
    came = contents(tmp_path / "here")
    assert {name: came[name] for name in FILES} == contents(scope.folder / HERE)


def test_of_all_that_the_book_loads_what_is_there_comes_and_the_rest_is_said(
    scope: FaultyHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "all", "--profile", "full", "--endpoint", MODELSCOPE]) == 4
    told = capsys.readouterr()
    assert f"{HERE} is in " in told.out
    others = {str(source.hub) for source in sources("full").values()} - {HUBS}
    assert all(f"{other} " in told.err for other in others)
