"""Transformers of FLUX, FLUX.2, Qwen-Image and Z-Image, tiny, with random weights.

The reference: the library's own queries and keys, and the softmax written out.
"""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.models.transformers import (
    transformer_flux,
    transformer_flux2,
    transformer_qwenimage,
    transformer_z_image,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerFast

from companion.attention import HeatMaps, load, save, trace
from companion.attention.directions import DIRECTIONS
from companion.zoo import folder

CAT, MOON = "a cat on a blue background", "a moon"
MODULES = {
    "FLUX": transformer_flux,
    "FLUX.2": transformer_flux2,
    "FLUX.2 klein": transformer_flux2,
    "Qwen-Image": transformer_qwenimage,
    "Z-Image": transformer_z_image,
}
WIDTH, TOKENS = 16, 48
ROWS, COLUMNS = 2, 4  # places of pictures of 32x64


class Reader(nn.Module):
    """A language model's part: a vector for each token, which says which token it is."""

    dtype, device, config = torch.float32, torch.device("cpu"), SimpleNamespace()

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        read = self.embedding(input_ids)
        return SimpleNamespace(hidden_states=[read, read, read])


class T5(Reader):
    """FLUX's asks for a tuple."""

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        return (self.embedding(input_ids),)


def byte_tokenizer(padding_side: str = "right") -> PreTrainedTokenizerFast:
    """Byte pairs, which count the space in front to a word, and messages to a chat."""
    marks = ["<pad>", "<s>", "<user>", "<end>", "<assistant>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=marks, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([CAT, "describe it"] * 9, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", padding_side=padding_side
    )
    fast.model_max_length = TOKENS
    fast.chat_template = (
        "{{ '<s>' }}{% for message in messages %}<user>"
        "{{ message.content if message.content is string else message.content[0].text }}"
        "<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    return fast


def joint(model: Any, **given: Any) -> Any:
    return model(attention_head_dim=8, num_attention_heads=2, joint_attention_dim=WIDTH, **given)


def flux() -> Any:
    tokenizer = CLIPTokenizer.from_pretrained(folder("stable-diffusion") / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    second = byte_tokenizer()
    return FluxPipeline(
        FlowMatchEulerDiscreteScheduler(), None, CLIPTextModel(config), tokenizer,
        T5(len(second)), second,
        joint(
            FluxTransformer2DModel, in_channels=16, num_layers=2, num_single_layers=2,
            pooled_projection_dim=16, axes_dims_rope=(2, 2, 4),
        ),
    )  # fmt: skip


def flux2() -> Any:
    pipe = of_flux2(Flux2Pipeline, "left")
    pipe.system_message = "describe it"  # its own is longer than what the tests' encoders read
    return pipe


def of_flux2(pipeline: Any, side: str) -> Any:
    tokenizer = byte_tokenizer(side)
    return pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(4,) * 4, layers_per_block=1, latent_channels=4, norm_num_groups=1,
        ),
        text_encoder=Reader(len(tokenizer)), tokenizer=tokenizer,
        transformer=joint(
            Flux2Transformer2DModel, in_channels=16, num_layers=2, num_single_layers=2,
            axes_dims_rope=(2, 2, 2, 2), timestep_guidance_channels=8,
        ),
    )  # fmt: skip


def klein() -> Any:
    return of_flux2(Flux2KleinPipeline, "right")


def qwen() -> Any:
    tokenizer = byte_tokenizer()
    transformer = joint(
        QwenImageTransformer2DModel, in_channels=16, out_channels=4, num_layers=3,
        axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    pipe = QwenImagePipeline(
        FlowMatchEulerDiscreteScheduler(), None, Reader(len(tokenizer)), tokenizer, transformer
    )
    pipe.prompt_template_encode = "<s>describe it:<user>{}<end><assistant>"
    start = tokenizer("<s>describe it:<user>")["input_ids"]
    pipe.prompt_template_encode_start_idx = len(start)
    return pipe


def z_image() -> Any:
    tokenizer = byte_tokenizer()
    return ZImagePipeline(
        FlowMatchEulerDiscreteScheduler(), None, Reader(len(tokenizer)), tokenizer,
        ZImageTransformer2DModel(
            in_channels=4, dim=16, n_layers=3, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
            cap_feat_dim=WIDTH, axes_dims=[2, 2, 4], axes_lens=[128, 32, 32],
        ),
    )  # fmt: skip


@pytest.fixture(scope="module", params=MODULES)
def layout(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """A pipeline, and the attention of every call of its layers: (batch, heads, items, items)."""
    made = {"FLUX": flux, "FLUX.2": flux2, "FLUX.2 klein": klein, "Qwen-Image": qwen}
    torch.manual_seed(0)
    pipe = made.get(request.param, z_image)()
    pipe.set_progress_bar_config(disable=True)
    for parameter in pipe.transformer.parameters():
        nn.init.normal_(parameter, std=0.5)
    seen: list[Tensor] = []

    def written_out(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **_: Any
    ) -> Any:
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        scores = query @ key.mT / query.shape[-1] ** 0.5
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask.bool(), -torch.inf)
        seen.append(scores.softmax(-1))
        return (seen[-1] @ value).transpose(1, 2)

    module, name = MODULES[request.param], "dispatch_attention_fn"
    before = getattr(module, name)
    setattr(module, name, written_out)
    given: dict[str, Any] = {}
    if request.param in ("FLUX", "Qwen-Image"):
        given = {"negative_prompt": MOON, "true_cfg_scale": 3.0}
    if "FLUX.2" in request.param:
        given = {"text_encoder_out_layers": (1,)}
    yield SimpleNamespace(name=request.param, pipe=pipe, seen=seen, given=given)
    setattr(module, name, before)


Draw = Callable[..., Tensor]


@pytest.fixture
def drawn(layout: Any) -> Draw:
    """Draw with it: two steps, latents of 4x8 in 2x2 patches."""

    def draw(prompt: Any = CAT, **more: Any) -> Tensor:
        layout.seen.clear()
        pictures: Tensor = layout.pipe(
            prompt=prompt, height=32, width=64, num_inference_steps=2, output_type="latent",
            max_sequence_length=TOKENS, generator=torch.Generator().manual_seed(7),
            **layout.given, **more,
        ).images  # fmt: skip
        return pictures

    return draw


def reference(layout: Any, row: int, calls: int, call: int = 0) -> list[tuple[Tensor, int, int]]:
    """Of each layer the sum over the steps of a row's attention, and where its text and its
    picture begin."""
    places = ROWS * COLUMNS
    refining = 2 if layout.name == "Z-Image" else 0
    layers = len(layout.seen) // (2 * calls)
    steps = [layout.seen[layers * (calls * step + call) :][refining:layers] for step in range(2)]
    found = []
    for first, second in zip(*steps, strict=True):
        items = first.shape[-1]
        text_at, picture_at = (32, 0) if refining else (0, items - places)
        found.append((first[row] + second[row], text_at, picture_at))
    return found


def expected(layout: Any, maps: HeatMaps, row: int, calls: int, call: int = 0) -> Tensor:
    """The mean over layers and heads of what a trace in its direction shall have gathered."""
    places = ROWS * COLUMNS
    source, reader = DIRECTIONS[maps.direction]
    positions = torch.tensor(maps.positions)
    found = []
    for weights, text_at, picture_at in reference(layout, row, calls, call)[: len(maps.layers)]:
        at = {"text": text_at + positions, "picture": picture_at + torch.arange(places)}
        of = weights[:, at[reader]][:, :, at[source]]
        if maps.direction == "text to picture":
            of = of.mT
        if source == reader == "text":
            found += list(of)
            continue
        grid = of.unflatten(-1, (ROWS, COLUMNS))
        found += F.interpolate(grid, size=(4, 8), mode="bicubic").clamp(min=0)
    return torch.stack(found).mean(0)


def calls_of(layout: Any) -> int:
    """How often the transformer runs in a step."""
    return 1 if layout.name in ("Z-Image", "FLUX.2") else 2


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_attention_is_that_of_the_softmax_written_out(
    layout: Any, drawn: Draw, direction: str, tmp_path: Any
) -> None:
    with trace(layout.pipe, direction=direction) as maps:
        drawn([CAT, MOON])
    ours: Any
    if direction == "picture to picture":
        ours = torch.stack(
            [
                maps.compute_place_heat_map((2 * row, 2 * column)).heatmap
                for row in range(ROWS)
                for column in range(COLUMNS)
            ]
        )
        wanted = slice(None)
    else:
        tokens = maps.prompts[0]
        assert tokens is not None
        wanted = [maps.positions.index(token.position) for token in tokens.tokens]
    theirs = expected(layout, maps, 0, calls_of(layout))[wanted]
    if direction == "text to text":
        ours, theirs = maps.compute_token_table(), theirs[:, wanted]
    elif direction != "picture to picture":
        ours = maps.compute_global_heat_map().heat_maps
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    save(maps, tmp_path / "maps.safetensors")
    again = load(tmp_path / "maps.safetensors")
    assert again.direction == direction
    assert all(torch.equal(again.sums[key], maps.sums[key]) for key in maps.sums)


def test_the_picture_is_the_same_bit_for_bit(layout: Any, drawn: Draw) -> None:
    untraced = drawn()
    with trace(layout.pipe), trace(layout.pipe, direction="picture to picture"):
        assert torch.equal(drawn(), untraced)
    assert "encode_prompt" not in vars(layout.pipe)


def test_each_word_is_where_its_vector_is(layout: Any, drawn: Draw) -> None:
    given: list[Any] = []
    handle = layout.pipe.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: given.append((args, kwargs)), with_kwargs=True
    )
    with trace(layout.pipe) as maps:
        drawn()
    handle.remove()
    args, kwargs = given[0]
    vectors = args[2][0] if layout.name == "Z-Image" else kwargs["encoder_hidden_states"][0]
    encoder = layout.pipe.text_encoder_2 if layout.name == "FLUX" else layout.pipe.text_encoder
    tokenizer = layout.pipe.tokenizer_2 if layout.name == "FLUX" else layout.pipe.tokenizer
    tokens = maps.prompts[0]
    assert tokens is not None
    for token in tokens.tokens:
        number = tokenizer.convert_tokens_to_ids(token.piece)
        assert torch.equal(vectors[token.position], encoder.embedding.weight[number])
    heat_map = maps.compute_global_heat_map()
    assert heat_map.words == CAT.split()
    (cat,) = tokens.find("cat")
    assert "".join(tokens.tokens[i].piece for i in cat).endswith("cat")
    first = heat_map.compute_word_heat_map(None, word_idx=0).heatmap
    assert torch.equal(first, heat_map.heat_maps[tokens.find("a")[0][0]])


def test_shares_among_words_are_all_that_there_is(layout: Any, drawn: Draw) -> None:
    with trace(layout.pipe, by="step", among_sources=True) as among, trace(layout.pipe) as maps:
        drawn()
    shares = among.compute_global_heat_map(step_idx=0).heat_maps.sum(0)
    assert shares.max() <= 1 + 1e-5
    assert (shares > maps.compute_global_heat_map().heat_maps.sum(0) / 2).all()


def test_the_negative_prompt(layout: Any, drawn: Draw) -> None:
    if layout.name == "FLUX.2":
        with pytest.raises(ValueError, match="negative"), trace(layout.pipe, negative=True):
            drawn()
        return
    more = {"negative_prompt": MOON} if layout.name == "Z-Image" else {}
    with trace(layout.pipe, negative=True) as maps:
        drawn(**more)
    tokens = maps.prompts[0]
    assert tokens is not None
    assert tokens.prompt == ("" if "klein" in layout.name else MOON)
    row, call = (1, 0) if layout.name == "Z-Image" else (0, 1)
    wanted = [maps.positions.index(token.position) for token in tokens.tokens]
    theirs = expected(layout, maps, row, calls_of(layout), call)[wanted]
    ours = maps.compute_global_heat_map().heat_maps
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_several_pictures_of_a_prompt(layout: Any, drawn: Draw) -> None:
    with trace(layout.pipe) as maps:
        drawn(num_images_per_prompt=2)
    assert len(maps.prompts) == 2
    assert maps.compute_global_heat_map(image_idx=1).prompt == CAT


def test_a_later_call_forgets_the_one_before(layout: Any, drawn: Draw) -> None:
    with trace(layout.pipe) as maps:
        drawn(MOON)
        drawn(CAT)
    assert [tokens and tokens.prompt for tokens in maps.prompts] == [CAT]
    assert maps.steps == 2
    assert maps.timesteps[0] > maps.timesteps[1]
