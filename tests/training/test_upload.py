"""The upload of a trained pipeline, by the real library to a hub on this machine."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers import DDPMPipeline
from huggingface_hub import close_session, constants

from companion.local_hub.server import Answer, LocalHub, Request, as_json, refusal
from companion.training import TrainingConfig, train

ID = r"([\w-][\w.-]*/[\w-][\w.-]*?)"
Make = Callable[..., TrainingConfig]


class WritableHub(LocalHub):
    """A hub that also takes uploads: repositories, LFS objects, commits.

    Attributes:
        objects: what was put into the store of large files, by SHA-256.
        cuts: how many of the next uploads break off in the middle.
        private: visibility of each repository, as it was asked for.
    """

    routes: ClassVar[list[tuple[str, str, str]]] = [
        ("POST", r"/api/repos/create", "create"),
        ("POST", rf"/api/models/{ID}/preupload/main", "preupload"),
        ("POST", rf"/{ID}\.git/info/lfs/objects/batch", "batch"),
        ("POST", rf"/api/models/{ID}/commit/main", "commit"),
        *LocalHub.routes,
    ]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.objects: dict[str, bytes] = {}
        self.cuts = 0
        self.private: dict[str, str | None] = {}
        self.messages: list[str] = []
        stock: Any = self._servers["files"].RequestHandlerClass
        hub = self

        class Breaking(stock):  # type: ignore[misc]
            def do_PUT(self) -> None:
                if hub.cuts:
                    hub.cuts -= 1
                    self.rfile.read(1000)
                    self.close_connection = True
                else:
                    super().do_PUT()

        self._servers["files"].RequestHandlerClass = Breaking

    def answer(self, request: Request) -> Answer:
        known = "authorization" in request.headers
        if request.host == "hub" and request.method == "POST" and not known:
            return refusal(401, "", "Invalid username or password.")
        if request.method == "PUT":
            name = request.path.removeprefix("/")
            if hashlib.sha256(request.body).hexdigest() != name:
                return Answer(400)
            self.objects[name] = request.body
            return Answer(200)
        return super().answer(request)

    def create(self, request: Request) -> Answer:
        asked = json.loads(request.body)
        name = f"{asked['organization'] or 'reader'}/{asked['name']}"
        self.private[name] = asked.get("visibility")
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return as_json({"url": f"{self.address}/{name}", "name": name, "id": name})

    def preupload(self, request: Request, repo_id: str) -> Answer:
        def mode(path: str) -> str:
            return "lfs" if path.endswith((".safetensors", ".png")) else "regular"

        files = json.loads(request.body)["files"]
        return as_json(
            {
                "files": [
                    {"path": file["path"], "uploadMode": mode(file["path"]), "shouldIgnore": False}
                    for file in files
                ]
            }
        )

    def batch(self, request: Request, repo_id: str) -> Answer:
        def action(file: dict[str, Any]) -> dict[str, Any]:
            if file["oid"] in self.objects:
                return {}
            return {"actions": {"upload": {"href": f"{self.files_address}/{file['oid']}"}}}

        asked = json.loads(request.body)["objects"]
        return as_json({"transfer": "basic", "objects": [file | action(file) for file in asked]})

    def commit(self, request: Request, repo_id: str) -> Answer:
        for line in request.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                self.messages.append(value["summary"])
                continue
            place = self.folder / repo_id / value["path"]
            place.parent.mkdir(parents=True, exist_ok=True)
            if entry["key"] == "file":
                place.write_bytes(base64.b64decode(value["content"]))
            else:
                place.write_bytes(self.objects[value["oid"]])
        url = f"{self.address}/{repo_id}/commit/{'0' * 40}"
        return as_json({"commitUrl": url, "commitOid": "0" * 40, "pullRequestUrl": None})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    """The hub that this process uploads to, and a token for it."""
    close_session()
    with WritableHub(tmp_path / "hub") as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")  # this hub may see it
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the LFS protocol instead
        monkeypatch.setenv("HF_TOKEN", "hf_" + "token" * 6)
        # The library waits a second, then two, ... before it tries again.
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        yield running
    close_session()


def same_pipeline(first: Path, second: Path) -> bool:
    weights = [DDPMPipeline.from_pretrained(folder).unet.state_dict() for folder in (first, second)]
    return all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_nothing_is_uploaded_unasked(hub: WritableHub, tiny: Make) -> None:
    train(tiny())
    assert hub.log == []


def test_the_saved_pipeline_is_on_the_hub_and_nothing_else(hub: WritableHub, tiny: Make) -> None:
    config = tiny(push_to_hub=True, log_with="tensorboard")
    Path(config.output_dir).mkdir()
    (Path(config.output_dir) / "mine.txt").write_text("private")
    run = train(config)
    uploaded = hub.folder / "reader" / "run"
    assert same_pipeline(run.folder, uploaded)
    names = {str(path.relative_to(uploaded)) for path in uploaded.rglob("*") if path.is_file()}
    assert names == {
        "model_index.json",
        "samples/0001.png",
        "samples/0002.png",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }
    assert hub.messages == ["3 epochs, 9 steps"]


def test_name_and_privacy_are_those_of_the_settings(hub: WritableHub, tiny: Make) -> None:
    train(tiny(push_to_hub=True, hub_model_id="garden/flowers", hub_private_repo=True))
    assert hub.private == {"garden/flowers": "private"}
    assert (hub.folder / "garden" / "flowers" / "model_index.json").exists()


def test_an_upload_that_breaks_off_is_tried_again(hub: WritableHub, tiny: Make) -> None:
    hub.cuts = 1
    run = train(tiny(push_to_hub=True))
    assert hub.cuts == 0
    assert same_pipeline(run.folder, hub.folder / "reader" / "run")


def test_saved_pipelines_are_uploaded_as_training_goes(hub: WritableHub, tiny: Make) -> None:
    train(tiny(push_to_hub=True, save_model_epochs=2))
    assert hub.messages == ["2 epochs, 6 steps", "3 epochs, 9 steps"]


def test_resuming_a_finished_run_uploads_what_failed(
    hub: WritableHub, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with (
        pytest.raises(OSError, match="resuming the finished run uploads it"),
        pytest.warns(UserWarning, match=r"401.*Training goes on"),
    ):
        train(tiny(push_to_hub=True, save_model_epochs=2))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    run = train(tiny(push_to_hub=True, save_model_epochs=2, resume=True))
    assert len(run.losses) == 9
    assert hub.messages == ["3 epochs, 9 steps"]


def test_without_a_token_the_pipeline_stays_here_whole(
    hub: WritableHub, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    config = tiny(push_to_hub=True)
    with pytest.raises(
        OSError, match=r"could not be uploaded as run .*401.*it is whole in"
    ) as error:
        train(config)
    assert len(str(error.value).splitlines()) == 1
    DDPMPipeline.from_pretrained(config.output_dir)


def test_a_hub_that_is_gone_is_one_sentence(hub: WritableHub, tiny: Make) -> None:
    for server in hub._servers.values():
        server.server_close()
    with pytest.raises(OSError, match=r"could not be uploaded as run .*it is whole in"):
        train(tiny(push_to_hub=True))


def test_no_upload_is_begun_to_a_host_that_may_not_see_the_token(
    hub: WritableHub, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    config = tiny(push_to_hub=True)
    with pytest.raises(ValueError, match="push_to_hub would send your token to the host that HF_"):
        train(config)
    assert hub.log == []
    assert not Path(config.output_dir).exists()
