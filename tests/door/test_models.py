"""Model folders of others: what is no pipeline with safetensors is refused before it is built."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from companion.door import Untrusted
from companion.door.models import check_index, check_model_folder, check_weights
from companion.zoo import folder as zoo

UNET = "unet/diffusion_pytorch_model.safetensors"


def linked(model: Path, to: Path) -> Path:
    """A model of links, as the hub's cache has them: a test puts its own files in their place."""
    for path in model.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".safetensors"):
            place = to / path.relative_to(model)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)
    return to


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The zoo's Stable Diffusion."""
    return linked(Path(zoo("stable-diffusion")), tmp_path / "model")


def put(path: Path, content: Any) -> None:
    """A file in place of the link, JSON if it is not bytes."""
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def change(path: Path, **values: Any) -> None:
    """Other settings in a file of JSON."""
    put(path, json.loads(path.read_text()) | values)


@pytest.mark.parametrize("name", ["stable-diffusion", "ddpm", "upscaler", "depth"])
def test_the_zoos_models_pass(name: str) -> None:
    check_model_folder(Path(zoo(name)))


def text_encoder(kind: str) -> Any:
    """A tiny one, with random weights."""
    import transformers

    if kind == "T5EncoderModel":  # two of its weights are one and the same
        return transformers.T5EncoderModel(
            transformers.T5Config(d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2)
        )
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "projection_dim": 8}
    return getattr(transformers, kind)(
        transformers.CLIPTextConfig(**size, num_attention_heads=2, vocab_size=50_000)
    )


@pytest.mark.parametrize("kind", ["CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"])
@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_a_text_encoder_has_all_its_weights_or_is_refused(
    kind: str, prefix: str, tmp_path: Path
) -> None:
    part = text_encoder(kind)
    pipe = type("Pipe", (), {"components": {"text_encoder": part, "safety_checker": None}})
    part.save_pretrained(tmp_path / "text_encoder")
    path = tmp_path / "text_encoder" / "model.safetensors"
    weights = {f"{prefix}{name}": value for name, value in load_file(path).items()}
    weights[f"{prefix}embeddings.position_ids"] = np.arange(77)[None]  # as old versions saved
    save_file(weights, path)
    check_weights(pipe, tmp_path)
    del weights[max(weights)]
    save_file(weights, path)
    with pytest.raises(Untrusted, match=r"The weights of the text_encoder in .* lack "):
        check_weights(pipe, tmp_path)


def test_files_of_other_libraries_beside_the_safetensors_do_not_matter(model: Path) -> None:
    for name in ("diffusion_pytorch_model.bin", "diffusion_flax_model.msgpack"):
        put(model / "unet" / name, b"anything")
    put(model / "unet" / "diffusion_pytorch_model.fp16.safetensors", b"anything")
    put(model / "vae" / "model.onnx", b"anything")
    check_model_folder(model)


def test_parts_as_old_models_name_them_pass(model: Path) -> None:
    change(
        model / "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPFeatureExtractor"],
        _ignore_files=["a.ckpt"],
        unknown=["of", "another", "version"],
    )
    (model / "safety_checker").mkdir()
    put(model / "safety_checker" / "config.json", {})
    save_file(load_file(model / "vae/diffusion_pytorch_model.safetensors"), model / "one")
    (model / "one").rename(model / "safety_checker" / "model.safetensors")
    (model / "feature_extractor").mkdir()
    check_model_folder(model)


def in_shards(model: Path, names: tuple[str, str] = ("a.safetensors", "b.safetensors")) -> None:
    """The UNet in two files and an index."""
    tensors = load_file(model / UNET)
    (model / UNET).unlink()
    half = len(tensors) // 2
    parts = [dict(list(tensors.items())[:half]), dict(list(tensors.items())[half:])]
    for name, part in zip(("a.safetensors", "b.safetensors"), parts, strict=True):
        save_file(part, model / "unet" / name)
    weight_map = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    put(model / f"{UNET}.index.json", {"metadata": {}, "weight_map": weight_map})


def test_weights_in_shards_pass(model: Path) -> None:
    in_shards(model)
    check_model_folder(model)


@pytest.mark.parametrize(
    "name",
    [
        "../../vae/diffusion_pytorch_model.safetensors",
        "/etc/passwd",
        "c.safetensors",
        "config.json",
    ],
)
def test_a_shard_that_is_none_or_elsewhere_is_refused(model: Path, name: str) -> None:
    in_shards(model, ("a.safetensors", name))
    with pytest.raises(Untrusted):
        check_model_folder(model)


def test_an_index_beside_whole_weights_is_refused(model: Path) -> None:
    shutil.copy(model / UNET, model / "unet" / "mine.safetensors")
    put(model / f"{UNET}.index.json", {"weight_map": {"conv_in.weight": "mine.safetensors"}})
    with pytest.raises(Untrusted, match="weights twice"):
        check_model_folder(model)


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
@pytest.mark.parametrize("ending", [".bin", ".ckpt", ".pkl"])
def test_weights_as_a_pickle_only_are_refused(model: Path, part: str, ending: str) -> None:
    next((model / part).glob("*.safetensors")).unlink()
    put(model / part / f"pytorch_model{ending}", pickle.dumps({}))
    with pytest.raises(Untrusted, match=f"The {part} of .*{ending} only, a pickle"):
        check_model_folder(model)


def test_weights_as_a_variant_only_are_refused_with_what_to_do(model: Path) -> None:
    (model / UNET).rename(model / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(Untrusted, match=r"rename it to diffusion_pytorch_model\.safetensors"):
        check_model_folder(model)


def test_no_weights_are_refused(model: Path) -> None:
    (model / UNET).unlink()
    with pytest.raises(Untrusted, match=r"no diffusion_pytorch_model\.safetensors"):
        check_model_folder(model)


@pytest.mark.parametrize(
    "index",
    [
        [],
        5,
        None,
        {},
        {"_class_name": 5},
        {"_class_name": None},
        {"_class_name": "NoSuchPipeline"},
        {"_class_name": "UNet2DModel"},
        {"_class_name": "utils"},
        {"_class_name": "__doc__"},
        {"_class_name": ["pipeline", "Mine"]},
        b"[" * 100_000,
        b'{"_class_name": ' + b'[{"a":' * 50_000,
        b"\xff\xfe",
        b"",
    ],
)
def test_an_index_that_names_no_pipeline_is_refused(model: Path, index: Any) -> None:
    put(model / "model_index.json", index)
    with pytest.raises(Untrusted):
        check_model_folder(model)


@pytest.mark.parametrize(
    "part",
    [
        ["os", "system"],
        ["mine", "MyUNet"],
        ["diffusers", "NoSuchModel"],
        ["diffusers", "DiffusionPipeline"],
        ["diffusers", "StableDiffusionPipeline"],
        ["stable_diffusion", "StableDiffusionPipeline"],
        ["transformers", "AutoModel"],
        ["transformers", "pipeline"],
        ["transformers", None],
        ["diffusers", 5],
        ["diffusers"],
        ["..", "UNet2DConditionModel"],
        ["diffusers", "UNet2DConditionModel", "more"],
        [{}, []],
    ],
)
def test_a_part_that_is_no_class_of_the_libraries_is_refused(model: Path, part: list[Any]) -> None:
    (model / "unet" / "mine.py").write_text("raise SystemExit('code ran')")
    change(model / "model_index.json", unet=part)
    with pytest.raises(Untrusted, match=r"model_index\.json says"):
        check_model_folder(model)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("unet/config.json", {"layers_per_block": 10**9}),
        ("unet/config.json", {"layers_per_block": [1, 10**5, 1]}),
        ("unet/config.json", {"layers_per_block": 90, "transformer_layers_per_block": 90}),
        ("unet/config.json", {"down_block_types": ["DownBlock2D"] * 10**5}),
        ("unet/config.json", {"block_out_channels": [32, 10**12]}),
        ("unet/config.json", {"sample_size": 10**6}),
        ("text_encoder/config.json", {"num_hidden_layers": 10**9}),
        ("text_encoder/config.json", {"text_config": {"num_hidden_layers": 10**5}}),
        ("text_encoder/config.json", {"max_position_embeddings": 10**10}),
        ("text_encoder/config.json", {"transformers_weights": "adapter_model.bin"}),
        ("text_encoder/config.json", {"auto_map": {"AutoModel": "mine.Mine"}}),
        ("text_encoder/config.json", {"attn_implementation": "somebody/code"}),
        ("text_encoder/adapter_config.json", {"base_model_name_or_path": "somebody/model"}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}),
    ],
)
def test_settings_beyond_what_the_weights_hold_are_refused(
    model: Path, file: str, values: dict[str, Any]
) -> None:
    if (model / file).exists():
        change(model / file, **values)
    else:
        put(model / file, values)
    with pytest.raises(Untrusted):
        check_model_folder(model)


@pytest.mark.parametrize("file", ["unet/config.json", "scheduler/scheduler_config.json"])
@pytest.mark.parametrize("content", [[], b"", b"{" * 9, b"[" * 100_000, b'{"a": 1' + b"0" * 10**5])
def test_settings_that_are_no_json_are_refused(model: Path, file: str, content: Any) -> None:
    put(model / file, content)
    with pytest.raises(Untrusted, match="config"):
        check_model_folder(model)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-1],
        lambda whole: whole[:100],
        lambda whole: b"",
        lambda whole: b"\xff" * 8 + whole[8:],
        lambda whole: whole.replace(b'"dtype":"F', b'"dtype":"X', 1),
        lambda whole: pickle.dumps({"a": 1}),
    ],
)
def test_damaged_weights_are_refused(model: Path, damage: Callable[[bytes], bytes]) -> None:
    put(model / UNET, damage((model / UNET).read_bytes()))
    with pytest.raises(Untrusted, match="cannot be read as safetensors"):
        check_model_folder(model)


@pytest.mark.parametrize("length", [0, -1, 1.5, "x", True, []])
def test_a_tokenizer_of_no_length_is_refused(model: Path, length: Any) -> None:
    change(model / "tokenizer" / "tokenizer_config.json", model_max_length=length)
    with pytest.raises(Untrusted, match=r"has model_max_length = .* at least 1"):
        check_model_folder(model)


def test_an_index_is_looked_at_alone(tmp_path: Path) -> None:
    put(tmp_path / "model_index.json", {"_class_name": "DDPMPipeline", "unet": ["evil", "Evil"]})
    with pytest.raises(Untrusted, match=r"says that unet is a evil.Evil"):
        check_index(tmp_path / "model_index.json")
    with pytest.raises(FileNotFoundError):
        check_index(tmp_path / "none.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("file", ["tokenizer/chat_template.jinja", "tokenizer/vocab.json"])
def test_a_pipe_that_a_library_may_open_is_refused(model: Path, file: str) -> None:
    (model / file).unlink(missing_ok=True)
    os.mkfifo(model / file)
    with pytest.raises(Untrusted, match="is no file"):
        check_model_folder(model)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", UNET])
def test_pipes_devices_and_folders_in_place_of_files_are_refused(model: Path, file: str) -> None:
    (model / file).unlink()
    os.mkfifo(model / file)
    with pytest.raises(Untrusted, match="is no file"):
        check_model_folder(model)
    (model / file).unlink()
    (model / file).symlink_to("/dev/zero")
    with pytest.raises(Untrusted, match="is no file"):
        check_model_folder(model)
    (model / file).unlink()
    (model / file).mkdir()
    with pytest.raises(Untrusted, match="is no file"):
        check_model_folder(model)


@pytest.mark.parametrize("name", ["classifier", "vae"])
def test_a_folder_without_an_index_is_refused(name: str) -> None:
    with pytest.raises(Untrusted, match=r"holds no model_index\.json"):
        check_model_folder(Path(zoo(name)))


def test_what_is_no_folder_is_refused(model: Path) -> None:
    with pytest.raises(Untrusted, match="There is no folder"):
        check_model_folder(model / "model_index.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
KEYS = ["_class_name", "unet", "vae", "scheduler", "tokenizer", "safety_checker"]
PARTS = st.tuples(
    st.sampled_from(["diffusers", "transformers", "stable_diffusion", "os", ""]) | JSON,
    st.sampled_from(["UNet2DConditionModel", "logging", "CLIPTokenizer", "DDIMScheduler"]) | JSON,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(changed=st.dictionaries(st.sampled_from(KEYS), JSON | PARTS, min_size=1, max_size=3))
def test_any_index_passes_or_is_refused(
    changed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = linked(Path(zoo("stable-diffusion")), tmp_path_factory.mktemp("models") / "model")
    change(model / "model_index.json", **changed)
    with suppress(Untrusted):  # nothing else may come
        check_model_folder(model)
