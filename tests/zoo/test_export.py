"""`companion zoo export`: a model as the pages of the book run it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from companion.cli import main
from companion.zoo import folder
from companion.zoo.export import TOKENS, export
from damage import changeable_copy

ZOO = folder("stable-diffusion")
FILES = ["merges.txt", "model.json", "model.safetensors"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("exported")
    export(ZOO, to)
    return to


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the zoo's Stable Diffusion, to be changed."""
    return changeable_copy(ZOO, tmp_path / "model")


def changed(model: Path, part: str, **values: Any) -> None:
    path = model / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps(config))


def test_the_weights_are_the_models_own_in_half_precision(exported: Path) -> None:
    weights = load_file(exported / "model.safetensors")
    own = load_file(ZOO / "unet" / "diffusion_pytorch_model.safetensors")
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float16)}
    np.testing.assert_array_equal(weights["unet.conv_in.weight"], own["conv_in.weight"])
    assert sum(array.size for name, array in weights.items() if name.startswith("unet.")) == sum(
        array.size for array in own.values()
    )


def test_layers_that_read_the_same_are_joined(exported: Path) -> None:
    weights = load_file(exported / "model.safetensors")
    own = load_file(ZOO / "unet" / "diffusion_pytorch_model.safetensors")
    name = "mid_block.attentions.0.transformer_blocks.0.attn1"
    parts = [own[f"{name}.to_{letter}.weight"] for letter in "qkv"]
    np.testing.assert_array_equal(weights[f"unet.{name}.to_qkv.weight"], np.concatenate(parts))
    assert not [name for name in weights if "to_k." in name or "k_proj" in name]


def test_only_tokens_that_training_met_travel(exported: Path) -> None:
    known = json.loads((exported / "model.json").read_text())["known_tokens"]
    table = load_file(ZOO / "text_encoder" / "model.safetensors")
    rows = table["embeddings.token_embedding.weight"]
    np.testing.assert_array_equal(
        load_file(exported / "model.safetensors")[TOKENS], rows[np.array(known)]
    )
    assert not np.delete(rows, known, axis=0).any()


def test_the_command_writes_the_files_and_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["zoo", "export", "stable-diffusion", "--to", str(tmp_path / "a" / "b")]) == 0
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == FILES
    said = capsys.readouterr().out
    assert all(name in said for name in FILES)


def test_the_command_takes_the_folder_of_a_model_of_ones_own(tmp_path: Path, model: Path) -> None:
    assert main(["zoo", "export", str(model), "--to", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("unet", {"act_fn": "gelu"}, "act_fn"),
        ("unet", {"addition_embed_type": "text_time"}, "addition_embed_type"),
        ("unet", {"down_block_types": ["AttnDownBlock2D"] * 3}, "down_block_types"),
        ("unet", {"attention_head_dim": [2, 4, 4]}, "attention_head_dim"),
        ("unet", {"attention_head_dim": 3}, "block_out_channels"),
        ("unet", {"block_out_channels": [60, 128, 128]}, "block_out_channels"),
        ("unet", {"block_out_channels": None}, "block_out_channels"),
        ("unet", {"in_channels": 9}, "in_channels"),
        ("unet", {"sample_size": 18}, "sample_size"),
        ("unet", {"norm_num_groups": 0}, "norm_num_groups"),
        ("unet", {"layers_per_block": "1"}, "layers_per_block"),
        ("unet", {"cross_attention_dim": 64}, "cross_attention_dim"),
        ("unet", {"down_block_types": 7}, "down_block_types"),
        ("unet", {"norm_eps": "1e-5"}, "norm_eps"),
        ("vae", {"in_channels": 4}, "in_channels"),
        ("vae", {"scaling_factor": None}, "scaling_factor"),
        ("vae", {"use_quant_conv": False}, "use_quant_conv"),
        ("vae", {"latents_mean": [0.0] * 4}, "latents_mean"),
        ("text_encoder", {"hidden_act": "gelu"}, "hidden_act"),
        ("text_encoder", {"hidden_size": 100}, "hidden_size"),
        ("scheduler", {"beta_start": None}, "beta_start"),
        ("scheduler", {"num_train_timesteps": "1000"}, "num_train_timesteps"),
        ("scheduler", {"prediction_type": "v_prediction"}, "prediction_type"),
        ("scheduler", {"thresholding": True}, "thresholding"),
        ("scheduler", {"variance_type": "learned"}, "variance_type"),
        ("scheduler", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
    ],
)
def test_what_the_engine_does_not_know_is_refused_by_name(
    tmp_path: Path, model: Path, part: str, values: dict[str, Any], words: str
) -> None:
    changed(model, part, **values)
    with pytest.raises(ValueError, match=f"The {part} has {words} = .*does not know"):
        export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def without(part: str) -> Callable[[Path], None]:
    return lambda model: (model / part).unlink()


def cut(model: Path) -> None:
    path = model / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])


def too_large(model: Path) -> None:
    path = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights = {name: array.astype(np.float32) for name, array in load_file(path).items()}
    weights["conv_in.weight"][0, 0] = 1e6
    save_file(weights, path)


def other_unet(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Path], None]:
    def damage(model: Path) -> None:
        path = model / "unet" / "diffusion_pytorch_model.safetensors"
        weights = load_file(path)
        change(weights)
        save_file(weights, path)

    return damage


KEYS = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"


def no_keys(weights: dict[str, np.ndarray]) -> None:
    del weights["mid_block.attentions.0.transformer_blocks.0.attn1.to_k.weight"]


def narrow_keys(weights: dict[str, np.ndarray]) -> None:
    weights[KEYS] = weights[KEYS][:, :8].copy()


def no_table(model: Path) -> None:
    path = model / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    name = "embeddings.token_embedding.weight"
    save_file(weights | {name: weights[name][0].copy()}, path)


def other_merges(model: Path) -> None:
    (model / "tokenizer" / "tokenizer.json").write_text('{"model": {"merges": [["a", "b"]]}}')


def no_json(model: Path) -> None:
    (model / "vae" / "config.json").write_text("{")


def no_merges(model: Path) -> None:
    (model / "tokenizer" / "tokenizer.json").write_text('{"model": {}}')


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without("unet/config.json"), "holds no Stable Diffusion"),
        (without("unet/diffusion_pytorch_model.safetensors"), "has 0 files of weights"),
        (without("tokenizer/tokenizer.json"), "save its tokenizer"),
        (cut, "cannot be read"),
        (too_large, "half precision cannot hold"),
        (no_json, "is no JSON"),
        (no_merges, "holds no merges"),
        (other_merges, "has 1 merges, but CLIP's tokenizer"),
        (other_unet(no_keys), "attn1.to_k.weight, .* do not go together"),
        (other_unet(narrow_keys), "attn2.to_k.weight, .* do not go together"),
        (no_table, "has no table"),
    ],
)
def test_a_damaged_model_is_named_in_a_sentence(
    tmp_path: Path, model: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(model)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_too_large_for_a_page_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion.zoo.export.MOST_BYTES", 10**6)
    with pytest.raises(ValueError, match=r"has 14 MB of weights .* no more than 1: take a smaller"):
        export(ZOO, tmp_path / "out")
