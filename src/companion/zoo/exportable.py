"""What the engine of the book's pages knows: settings and sizes of a model's parts.

Whatever else a configuration asks for is refused by name: a picture drawn without it would be
another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from companion.door.numbers import shown

__all__ = ["LAYOUTS", "check", "unknown"]

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """What a part's configuration may say."""

    # What the engine can do where a configuration leaves a choice; None is Diffusers' default.
    known: Mapping[str, tuple[Any, ...]]
    # What the engine reckons with, and has no default for.
    numbers: tuple[str, ...] = ()
    # What must be left out, or be None or false.
    not_known: tuple[str, ...] = ()
    # The kinds of blocks, down and up.
    blocks: frozenset[str] = frozenset()


UNET = Part(
    known={
        "_class_name": ("UNet2DConditionModel",),
        "act_fn": ("silu",),
        "attention_type": ("default",),
        "center_input_sample": (False,),
        "conv_in_kernel": (3,),
        "conv_out_kernel": (3,),
        "downsample_padding": (1,),
        "dual_cross_attention": (False,),
        "mid_block_scale_factor": (1,),
        "mid_block_type": ("UNetMidBlock2DCrossAttn",),
        "only_cross_attention": (False,),
        "resnet_out_scale_factor": (1,),
        "resnet_skip_time_act": (False,),
        "resnet_time_scale_shift": ("default",),
        "time_embedding_type": ("positional",),
    },
    numbers=("freq_shift", "norm_eps"),
    not_known=(
        "addition_embed_type",
        "class_embed_type",
        "cross_attention_norm",
        "encoder_hid_dim",
        "num_class_embeds",
        "reverse_transformer_layers_per_block",
        "time_cond_proj_dim",
        "time_embedding_act_fn",
        "time_embedding_dim",
        "timestep_post_act",
    ),
    blocks=frozenset(
        {"CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"},
    ),
)
TRANSFORMER = Part(
    known={
        "_class_name": ("SD3Transformer2DModel",),
        "patch_size": (1, 2, 4),
    },
    not_known=("dual_attention_layers", "qk_norm"),
)
VAE = Part(
    known={
        "_class_name": ("AutoencoderKL",),
        "act_fn": ("silu",),
        "in_channels": (3,),
        "mid_block_add_attention": (True,),
        "out_channels": (3,),
        "use_post_quant_conv": (True,),
        "use_quant_conv": (True,),
    },
    numbers=("scaling_factor",),
    not_known=("latents_mean", "latents_std"),
    blocks=frozenset({"DownEncoderBlock2D", "UpDecoderBlock2D"}),
)
TEXT_ENCODER = Part(
    known={
        "hidden_act": ("quick_gelu",),
        "max_position_embeddings": (77,),
        "model_type": ("clip_text_model",),
        "vocab_size": (49408,),
    },
    numbers=("layer_norm_eps",),
)
# The state at a text's end stands for all of it; 2 is an old setting that means the same token.
TEXT_ENCODER_WITH_PROJECTION = replace(
    TEXT_ENCODER, known={**TEXT_ENCODER.known, "eos_token_id": (49407, 2)}
)
NOISE_LEVELS = Part(
    known={
        "beta_schedule": ("scaled_linear",),
        "prediction_type": ("epsilon",),
        "rescale_betas_zero_snr": (False,),
        "thresholding": (False,),
        "variance_type": ("fixed_small",),
    },
    numbers=("beta_start", "beta_end"),
    not_known=("trained_betas",),
)
FLOW_MATCHING = Part(
    known={"_class_name": ("FlowMatchEulerDiscreteScheduler",)},
    numbers=("shift",),
    not_known=(
        "invert_sigmas",
        "shift_terminal",
        "stochastic_sampling",
        "use_beta_sigmas",
        "use_dynamic_shifting",
        "use_exponential_sigmas",
        "use_karras_sigmas",
    ),
)
# By the network that a folder holds: Stable Diffusion, and Stable Diffusion 3.
LAYOUTS: Mapping[str, Mapping[str, Part]] = {
    "unet": {
        "unet": UNET,
        "vae": VAE,
        "text_encoder": TEXT_ENCODER,
        "scheduler": NOISE_LEVELS,
    },
    "transformer": {
        "transformer": TRANSFORMER,
        "vae": VAE,
        "text_encoder": TEXT_ENCODER_WITH_PROJECTION,
        "scheduler": FLOW_MATCHING,
    },
}


def check(network: str, configs: Mapping[str, Config]) -> None:
    """Refuse what the engine does not know.

    Args:
        network: "unet" or "transformer".
        configs: the configurations of the layout's parts.

    Raises:
        ValueError: a setting that it does not know, or a size that its kernels do not take.
    """
    for name, part in LAYOUTS[network].items():
        _check_choices(name, part, configs[name])
    _check_vae(configs["vae"])
    _check_text_encoder(configs["text_encoder"])
    _whole("scheduler", configs["scheduler"], "num_train_timesteps")
    (_check_unet if network == "unet" else _check_transformer)(configs)
    channels = configs["vae"]["latent_channels"]
    for key in ("in_channels", "out_channels"):
        if _whole(network, configs[network], key) != channels:
            known = f"as many as the VAE has, {channels}"
            raise unknown(network, key, configs[network][key], known)


def unknown(part: str, key: str, value: Any, known: str) -> ValueError:
    """The sentence that refuses a setting."""
    return ValueError(
        f"The {part} has {key} = {shown(value)}, which the engine of the book's pages does not "
        f"know: it knows {known}."
    )


def _check_choices(name: str, part: Part, config: Config) -> None:
    for key, values in part.known.items():
        if config.get(key) is not None and config[key] not in values:
            raise unknown(name, key, config[key], " or ".join(map(str, values)))
    for key in part.not_known:
        if config.get(key):
            raise unknown(name, key, config[key], "none")
    for key in part.numbers:
        if type(config.get(key)) not in (int, float):
            raise unknown(name, key, config.get(key), "numbers")
    for key in ("down_block_types", "up_block_types") if part.blocks else ():
        kinds = config.get(key) or ()
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if kind not in part.blocks:
                raise unknown(name, key, kind, " or ".join(sorted(part.blocks)))


# The kernels take channels by eights, and pictures that every level can halve.


def _check_vae(vae: Config) -> None:
    _whole("vae", vae, "latent_channels")
    _check_levels("vae", vae)


def _check_levels(part: str, config: Config) -> None:
    groups = _whole(part, config, "norm_num_groups")
    _whole(part, config, "layers_per_block")
    levels = config.get("block_out_channels")
    for channels in levels if isinstance(levels, list) and levels else [levels]:
        if type(channels) is not int or channels < 1 or channels % 8 or channels % groups:
            known = f"multiples of 8 and of norm_num_groups, {groups}"
            raise unknown(part, "block_out_channels", channels, known)


def _check_text_encoder(text: Config) -> None:
    heads = _whole("text_encoder", text, "num_attention_heads")
    if _whole("text_encoder", text, "hidden_size") % (8 * heads):
        known = "multiples of 8 for each head"
        raise unknown("text_encoder", "hidden_size", text["hidden_size"], known)


def _check_unet(configs: Mapping[str, Config]) -> None:
    unet, text = configs["unet"], configs["text_encoder"]
    heads_are = "num_attention_heads" if unet.get("num_attention_heads") else "attention_head_dim"
    heads = _whole("unet", unet, heads_are)
    _check_levels("unet", unet)
    for channels in unet["block_out_channels"]:
        if channels % (8 * heads):
            known = f"multiples of 8 for each of {heads} heads"
            raise unknown("unet", "block_out_channels", channels, known)
    if _whole("unet", unet, "sample_size") % 2 ** (len(unet["block_out_channels"]) - 1):
        known = "sizes that every level but the last can halve"
        raise unknown("unet", "sample_size", unet["sample_size"], known)
    if unet.get("cross_attention_dim") != text["hidden_size"]:
        known = f"what the text encoder's hidden_size is, {text['hidden_size']}"
        raise unknown("unet", "cross_attention_dim", unet.get("cross_attention_dim"), known)


def _check_transformer(configs: Mapping[str, Config]) -> None:
    transformer, text = configs["transformer"], configs["text_encoder"]
    wide = _whole("transformer", transformer, "attention_head_dim")
    if wide % 8:
        raise unknown("transformer", "attention_head_dim", wide, "multiples of 8")
    if _whole("text_encoder", text, "projection_dim") % 8:
        raise unknown("text_encoder", "projection_dim", text["projection_dim"], "multiples of 8")
    side, patch = (_whole("transformer", transformer, key) for key in ("sample_size", "patch_size"))
    if side % patch:
        raise unknown("transformer", "sample_size", side, f"whole patches of {patch}")
    if _whole("transformer", transformer, "pos_embed_max_size") < side // patch:
        known = f"a place for each of {side // patch} patches in a row"
        raise unknown("transformer", "pos_embed_max_size", transformer["pos_embed_max_size"], known)
    for key, fits, what in (
        (
            "caption_projection_dim",
            wide * _whole("transformer", transformer, "num_attention_heads"),
            "as many as all heads have",
        ),
        ("joint_attention_dim", 2 * text["hidden_size"], "twice the text encoder's hidden_size"),
        (
            "pooled_projection_dim",
            2 * text["projection_dim"],
            "twice the text encoder's projection_dim",
        ),
    ):
        if transformer.get(key) != fits:
            raise unknown("transformer", key, transformer.get(key), f"{what}, {fits}")


def _whole(part: str, config: Config, key: str) -> int:
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise unknown(part, key, value, "one whole number for all of it")
    return value
