"""`companion zoo export` of a model in the layout of Stable Diffusion 3."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from companion.cli import main
from companion.zoo import folder
from companion.zoo.export import PLACES, export
from damage import changeable_copy

WEIGHTS = Path("transformer") / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("exported")
    assert main(["zoo", "export", "flow", "--to", str(to)]) == 0
    return to


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the zoo's model, to be changed."""
    return changeable_copy(folder("flow"), tmp_path / "model")


def test_the_weights_are_the_models_own_in_half_precision(exported: Path) -> None:
    weights = load_file(exported / "model.safetensors")
    own = load_file(folder("flow") / WEIGHTS)
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float16)}
    ours = [array.size for name, array in weights.items() if name.startswith("transformer.")]
    assert sum(ours) == sum(array.size for array in own.values())
    block = "transformer_blocks.0.attn"
    for joined, names in (
        ("to_qkv", ("to_q", "to_k", "to_v")),
        ("add_qkv", ("add_q_proj", "add_k_proj", "add_v_proj")),
    ):
        parts = np.concatenate([own[f"{block}.{name}.weight"] for name in names])
        np.testing.assert_array_equal(weights[f"transformer.{block}.{joined}.weight"], parts)


def test_a_text_has_as_many_tokens_as_the_tokenizer_says(exported: Path) -> None:
    config = json.loads((folder("flow") / "tokenizer" / "tokenizer_config.json").read_text())
    assert json.loads((exported / "model.json").read_text())["tokens"] == config["model_max_length"]


def test_of_a_larger_table_of_places_the_middle_travels(tmp_path: Path, model: Path) -> None:
    weights = load_file(model / WEIGHTS)
    table = weights["pos_embed.pos_embed"]
    wide = np.zeros((12, 12, table.shape[-1]), dtype=table.dtype)
    wide[2:10, 2:10] = table.reshape(8, 8, -1)
    save_file({**weights, "pos_embed.pos_embed": wide.reshape(1, 144, -1)}, model / WEIGHTS)
    changed(model, "transformer", pos_embed_max_size=12)
    export(model, tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")[PLACES]
    np.testing.assert_array_equal(found, table[0])


def changed(model: Path, part: str, **values: Any) -> None:
    names = {"scheduler": "scheduler_config", "tokenizer": "tokenizer_config"}
    name = names.get(part.removesuffix("_2"), "config")
    path = model / part / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("transformer", {"_class_name": "FluxTransformer2DModel"}, "_class_name"),
        ("transformer", {"qk_norm": "rms_norm"}, "qk_norm"),
        ("transformer", {"dual_attention_layers": [0]}, "dual_attention_layers"),
        ("transformer", {"patch_size": 3}, "patch_size"),
        ("transformer", {"patch_size": None}, "patch_size"),
        ("transformer", {"sample_size": 15}, "sample_size"),
        ("transformer", {"pos_embed_max_size": 7}, "pos_embed_max_size"),
        ("transformer", {"attention_head_dim": 12}, "attention_head_dim"),
        ("transformer", {"num_attention_heads": 5}, "caption_projection_dim"),
        ("transformer", {"joint_attention_dim": 4096}, "joint_attention_dim"),
        ("transformer", {"pooled_projection_dim": 96}, "pooled_projection_dim"),
        ("transformer", {"in_channels": 16}, "in_channels"),
        ("vae", {"latents_std": [1.0] * 4}, "latents_std"),
        ("text_encoder", {"projection_dim": 100}, "projection_dim"),
        ("text_encoder", {"eos_token_id": 1}, "eos_token_id"),
        ("scheduler", {"_class_name": "FlowMatchHeunDiscreteScheduler"}, "_class_name"),
        ("scheduler", {"shift": None}, "shift"),
        ("scheduler", {"use_dynamic_shifting": True}, "use_dynamic_shifting"),
        ("scheduler", {"use_karras_sigmas": True}, "use_karras_sigmas"),
        ("scheduler", {"stochastic_sampling": True}, "stochastic_sampling"),
        ("scheduler", {"num_train_timesteps": 0}, "num_train_timesteps"),
        ("tokenizer", {"model_max_length": 2}, "model_max_length"),
        ("tokenizer_2", {"model_max_length": 77}, "model_max_length"),
        ("tokenizer_2", {"pad_token": "!"}, "pad_token"),
    ],
)
def test_what_the_engine_does_not_know_is_refused_by_name(
    tmp_path: Path, model: Path, part: str, values: dict[str, Any], words: str
) -> None:
    changed(model, part, **values)
    with pytest.raises(ValueError, match=f"The {part} has {words} = .*does not know"):
        export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def t5(model: Path) -> None:
    (model / "text_encoder_3").mkdir()


def another_encoder(model: Path) -> None:
    path = model / "text_encoder_2" / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("final_layer_norm.bias"))
    save_file({**weights, name: weights[name] + 1}, path)


def another_activation(model: Path) -> None:
    changed(model, "text_encoder_2", hidden_act="gelu")


def no_settings(model: Path) -> None:
    (model / "tokenizer_2" / "tokenizer_config.json").unlink()


def broken_settings(model: Path) -> None:
    (model / "tokenizer" / "tokenizer_config.json").write_text("{")


def no_places(model: Path) -> None:
    weights = load_file(model / WEIGHTS)
    del weights["pos_embed.pos_embed"]
    save_file(weights, model / WEIGHTS)


def no_queries(model: Path) -> None:
    weights = load_file(model / WEIGHTS)
    del weights["transformer_blocks.2.attn.add_v_proj.bias"]
    save_file(weights, model / WEIGHTS)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (t5, "has a T5 encoder"),
        (another_encoder, "text_encoder_2 is another model than text_encoder"),
        (another_activation, "text_encoder_2 is another model than text_encoder"),
        (no_settings, "has no tokenizer_2/tokenizer_config.json"),
        (broken_settings, "is no JSON"),
        (no_places, "have no table"),
        (no_queries, "add_v_proj.bias do not go together"),
    ],
)
def test_what_does_not_fit_is_named_in_a_sentence(
    tmp_path: Path, model: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(model)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
