"""companion.autopipeline.optimise: faster, the pictures the same, or as it was."""

import gc
import re
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import pytest
import torch

from companion import profile
from companion.autopipeline import Report, draw, load, optimise
from companion.autopipeline.deciding import Decision, Machine
from companion.autopipeline.lean import computes_in_bfloat16
from companion.door.compiled import allow_shapes, compile_as_graph, compile_whole, limit_shapes
from companion.metrics import psnr
from companion.scenes import scene
from companion.zoo import recognise


def reason_of(name: str, report: Report) -> str:
    """What a report says of one means."""
    return next(decision.reason for decision in report.decisions if decision.name == name)


def nothing_done(_: Any) -> Decision:
    """Half precision on a CPU is another matter."""
    return Decision("half precision", False, "")


@pytest.fixture
def limit_kept() -> Iterator[None]:
    """torch's limit of shapes is as before."""
    before = allow_shapes(0)
    yield
    limit_shapes(before)
    torch.compiler.reset()


IN_TORCH = {
    "channels_last",
    "small convolutions",
    "attention products",
    "prompt once",
}
FROG = scene(7, subset="stable-diffusion")  # "a frog on a brown background"
GIB = 2**30


@pytest.fixture(scope="module")
def fast(pipes: dict[str, Any], copied: Callable[[Any], Any]) -> tuple[Any, Any]:
    """A pipeline in bfloat16 as on a CPU that has it, and the report."""
    made = copied(pipes["text-to-image"])
    return made, optimise(made, Machine("cpu", fast_bfloat16=True), extras=())


def test_on_a_cpu_with_bfloat16_the_unet_computes_in_it(fast: tuple[Any, Any]) -> None:
    made, report = fast
    assert computes_in_bfloat16(made.unet)
    assert {part.dtype for part in (made.unet, made.vae, made.text_encoder)} == {torch.float32}
    used = {decision.name for decision in report.decisions if decision.done}
    assert used == {"half precision", *IN_TORCH}
    assert str(report).count("\n") == len(report.decisions) - 1


def test_the_optimised_pipeline_draws_the_same_pictures(pipe: Any, fast: tuple[Any, Any]) -> None:
    settings = {"seeds": [1, 2], "num_inference_steps": 15, "guidance_scale": 4.0}
    plain = draw(pipe, "a frog on a red background", **settings)
    quick = draw(fast[0], "a frog on a red background", **settings)
    assert min(psnr(*pair) for pair in zip(plain, quick, strict=True)) > 45
    assert psnr(plain[0], quick[0]) < float("inf")  # it did compute otherwise


def test_pipelines_that_share_the_networks_are_optimised_with_it(fast: tuple[Any, Any]) -> None:
    other = diffusers.AutoPipelineForImage2Image.from_pipe(fast[0])
    other.set_progress_bar_config(disable=True)
    (drawn,) = draw(
        other, "a panda", image=FROG.image, strength=0.2, num_inference_steps=10, guidance_scale=4.0
    )
    assert recognise(drawn)[0].objects == ("frog",)


def test_on_another_cpu_float32_stays(pipe: Any, own: Any) -> None:
    report = optimise(own, Machine("cpu", fast_bfloat16=False), extras=())
    assert {weight.dtype for weight in own.unet.parameters()} == {torch.float32}
    used = {decision.name for decision in report.decisions if decision.done}
    assert used == {"prompt once", "fused attention"}
    settings = {"seeds": [1, 2], "num_inference_steps": 5, "guidance_scale": 4.0}
    pairs = zip(draw(own, "a cat", **settings), draw(pipe, "a cat", **settings), strict=True)
    assert min(psnr(*pair) for pair in pairs) > 80


def test_what_has_no_unet_is_refused() -> None:
    with pytest.raises(ValueError, match="NoneType has no UNet"):
        optimise(None)


def test_twice_is_no_more_than_once(fast: tuple[Any, Any]) -> None:
    made, _ = fast
    again = optimise(made, Machine("cpu", fast_bfloat16=True), extras=())
    reasons = {one.name: one.reason for one in again.decisions if one.name in IN_TORCH}
    assert set(reasons.values()) == {"optimise was here already"}
    assert again.done("half precision")


def state(network: torch.nn.Module) -> dict[str, Any]:
    """All of a network that `optimise` touches."""
    hooks = [
        name
        for module in network.modules()
        for name, held in vars(module).items()
        if "hook" in name and isinstance(held, dict)
        for _ in held
    ]
    return {
        "hooks": hooks,
        "forward": [type(module).forward for module in network.modules()],
        "own": [sorted(vars(module)) for module in network.modules()],
        "compiled": [module._compiled_call_impl for module in network.modules()],
        "processors": [id(processor) for processor in network.attn_processors.values()],
        "layout": [weight.stride() for weight in network.state_dict().values()],
        "dtypes": [weight.dtype for weight in network.state_dict().values()],
        "places": [weight.data_ptr() for weight in network.parameters()],
    }


@pytest.fixture
def half_precision_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU has no other means."""
    monkeypatch.setattr("companion.autopipeline.on_cpu.MEANS", ())


@pytest.mark.parametrize("fast_bfloat16", [True, False])
def test_each_means_that_moves_the_answer_too_far_is_undone(
    own: Any, monkeypatch: pytest.MonkeyPatch, fast_bfloat16: bool
) -> None:
    monkeypatch.setattr("companion.autopipeline.trial.LARGEST_ERROR", -1.0)
    before = state(own.unet)
    report = optimise(own, Machine("cpu", fast_bfloat16=fast_bfloat16), extras=())
    assert state(own.unet) == before
    undone = [decision.name for decision in report.decisions if "moved by" in decision.reason]
    tried = {"prompt once"}
    assert set(undone) == tried | ({"half precision"} if fast_bfloat16 else set())


@pytest.mark.usefixtures("half_precision_only")
@pytest.mark.parametrize(("factor", "told"), [(1.1, 10.0), (1.03, 3.0), (0.0, 100.0), (3.0, 200.0)])
def test_what_changes_the_answer_too_far_is_undone_and_told_as_it_is(
    own: Any, monkeypatch: pytest.MonkeyPatch, factor: float, told: float
) -> None:
    honest = type(own.unet).forward

    def wrong_in_half(self: Any, *args: Any, **kwargs: Any) -> Any:
        (answer,) = honest(self, *args, **kwargs)
        return (answer * factor if computes_in_bfloat16(self) else answer,)

    monkeypatch.setattr(type(own.unet), "forward", wrong_in_half)
    before = state(own.unet)
    for _ in range(2):
        report = optimise(own, Machine("cpu", fast_bfloat16=True), extras=())
        assert not report.done("half precision")
        moved = re.search(r"moved by ([\d.]+)%", reason_of("half precision", report))
        assert moved is not None
        assert float(moved[1]) == pytest.approx(told, abs=0.5)
        assert state(own.unet) == before


@pytest.mark.usefixtures("half_precision_only")
def test_an_answer_of_nan_is_undone_too(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = type(own.unet).forward

    def broken_in_half(self: Any, *args: Any, **kwargs: Any) -> Any:
        (answer,) = honest(self, *args, **kwargs)
        return (answer * float("nan") if computes_in_bfloat16(self) else answer,)

    monkeypatch.setattr(type(own.unet), "forward", broken_in_half)
    before = state(own.unet)
    report = optimise(own, Machine("cpu", fast_bfloat16=True), extras=())
    assert not report.done("half precision")
    assert "NaN" in reason_of("half precision", report)
    assert state(own.unet) == before


@pytest.mark.usefixtures("half_precision_only")
@pytest.mark.parametrize("failure", [TypeError("another signature"), KeyboardInterrupt()])
def test_what_fails_or_is_interrupted_on_trial_is_undone(
    own: Any, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    honest = type(own.unet).forward

    def failing_in_half(self: Any, *args: Any, **kwargs: Any) -> Any:
        if computes_in_bfloat16(self):
            raise failure
        return honest(self, *args, **kwargs)

    monkeypatch.setattr(type(own.unet), "forward", failing_in_half)
    before = state(own.unet)
    if isinstance(failure, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            optimise(own, Machine("cpu", fast_bfloat16=True), extras=())
    else:
        report = optimise(own, Machine("cpu", fast_bfloat16=True), extras=())
        assert "cannot be tried here (TypeError)" in reason_of("half precision", report)
    assert state(own.unet) == before


def test_a_hook_of_the_readers_own_can_still_be_removed_after_undoing(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    hook = own.unet.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr("companion.autopipeline.trial.LARGEST_ERROR", 0.0)
    assert not optimise(own, Machine("cpu", fast_bfloat16=True), extras=()).done("half precision")
    hook.remove()
    calls.clear()
    draw(own, "a cat", num_inference_steps=1)
    assert calls == []


class StandIn:
    """Compiles and offloads nothing, and remembers that it was asked to: there is no GPU here."""

    def __init__(self, pipe: Any, monkeypatch: pytest.MonkeyPatch, factor: float = 1.0) -> None:
        self.asked: list[str] = []
        monkeypatch.setattr(
            pipe, "enable_model_cpu_offload", lambda: self.asked.append("offload"), raising=False
        )

        def compile_blocks() -> None:
            self.asked.append("compile")
            for block in pipe.unet.modules():
                if type(block).__name__ == "BasicTransformerBlock":
                    block._compiled_call_impl = lambda *args, block=block, **kwargs: (
                        factor * type(block).forward(block, *args, **kwargs)
                    )

        monkeypatch.setattr(pipe.unet, "compile_repeated_blocks", compile_blocks, raising=False)


def test_on_a_gpu_with_room_all_but_memory_savers_are_used(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = StandIn(own, monkeypatch)
    report = optimise(own, Machine("cuda", free_memory=20 * GIB))
    assert {decision.name: decision.done for decision in report.decisions} == {
        "half precision": True,
        "channels_last": True,
        "fused attention": True,
        "VAE slices": False,
        "VAE tiles": False,
        "CPU offload": False,
        "compile": True,
    }
    assert {own.unet.dtype, own.vae.dtype, own.text_encoder.dtype} == {torch.float16}
    assert own.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert stand_in.asked == ["compile"]


def test_a_compiled_unet_with_another_answer_is_not_kept(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    StandIn(own, monkeypatch, factor=0.5)
    report = optimise(own, Machine("cuda", free_memory=20 * GIB))
    assert not report.done("compile")
    assert re.search(r"answer is off by [\d.]+%", report.decisions[-1].reason)
    assert not any(block._compiled_call_impl for block in own.unet.modules())


def test_where_compiling_fails_the_pipeline_stays_as_it_was(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:

    def no_compiler() -> None:
        raise FileNotFoundError("triton")

    monkeypatch.setattr(own.unet, "compile_repeated_blocks", no_compiler, raising=False)
    report = optimise(own, Machine("cuda", free_memory=20 * GIB))
    assert "compiling failed here (FileNotFoundError)" in report.decisions[-1].reason


def test_where_memory_is_short_parts_wait_outside(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = StandIn(own, monkeypatch)
    report = optimise(own, Machine("cuda", free_memory=GIB))
    assert all(report.done(name) for name in ("VAE slices", "VAE tiles", "CPU offload"))
    assert stand_in.asked == ["offload"]
    assert "again and again" in report.decisions[-1].reason
    assert own.vae.use_slicing
    assert own.vae.use_tiling


def test_compiled_blocks_draw_any_number_of_pictures(
    own: Any, monkeypatch: pytest.MonkeyPatch, limit_kept: None
) -> None:
    """With torch's own limit of eight shapes the third number was an error."""
    compile_blocks = own.unet.compile_repeated_blocks
    monkeypatch.setattr(
        own.unet,
        "compile_repeated_blocks",
        lambda **given: compile_blocks(backend="eager", **given),
    )
    monkeypatch.setattr("companion.autopipeline.optimising._precision_on_gpu", nothing_done)
    assert optimise(own, Machine("cuda", free_memory=20 * GIB)).done("compile")
    for count in (1, 3, 2):
        settings = {"seeds": range(count), "num_inference_steps": 1, "guidance_scale": 4.0}
        assert len(draw(own, "a cat", guided=0.5, **settings)) == count
    for side in (48, 80):
        draw(own, "a cat", num_inference_steps=1, height=side, width=side)
    blocks = [b for b in own.unet.modules() if type(b).__name__ == "BasicTransformerBlock"]
    assert all(block._compiled_call_impl is not None for block in blocks)


def test_the_whole_unet_is_compiled_on_a_gpu_when_asked_for(
    own: Any, pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_whole = own.unet.compile
    asked: list[dict[str, Any]] = []

    def as_eager_graph(**given: Any) -> None:
        asked.append(given)
        compile_whole(backend="eager", dynamic=given["dynamic"])

    monkeypatch.setattr(own.unet, "compile", as_eager_graph)
    monkeypatch.setattr("companion.autopipeline.optimising._precision_on_gpu", nothing_done)
    report = optimise(own, Machine("cuda", free_memory=20 * GIB), compile_whole=True)
    assert asked == [{"mode": "reduce-overhead", "dynamic": False}]
    assert "one graph" in report.decisions[-1].reason
    settings = {"seeds": 3, "num_inference_steps": 2, "guidance_scale": 4.0}
    assert psnr(draw(own, "a cat", **settings)[0], draw(pipe, "a cat", **settings)[0]) > 40


def test_answers_of_a_graph_are_copies() -> None:
    """A graph writes each answer to the same place, and schedulers keep the last ones."""
    layer = torch.nn.Linear(2, 2)
    kept = torch.ones(2)
    layer.compile = lambda **_: setattr(layer, "_compiled_call_impl", lambda _: (kept,))  # type: ignore[method-assign]
    compile_as_graph(layer)
    (answer,) = layer(torch.zeros(2))
    kept.zero_()
    assert answer.tolist() == [1, 1]


@pytest.mark.slow
@pytest.mark.compiles
def test_a_unet_really_compiled_on_the_cpu_draws_the_same_picture(pipe: Any, own: Any) -> None:
    settings = {"seeds": 3, "num_inference_steps": 3, "guidance_scale": 4.0}
    report = optimise(own, Machine("cpu"), extras=(), compile_on_cpu=True)
    assert report.done("compile")
    assert own.unet._compiled_call_impl is not None
    assert psnr(draw(own, "a cat", **settings)[0], draw(pipe, "a cat", **settings)[0]) > 42
    torch.compiler.reset()
    gc.collect()


def test_on_a_cpu_a_compiled_unet_with_another_answer_is_not_kept(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:

    def compile_wrongly(**_: bool) -> None:
        own.unet._compiled_call_impl = lambda *args, **kwargs: (
            0.5 * type(own.unet).forward(own.unet, *args, **kwargs)[0],
        )

    monkeypatch.setattr(own.unet, "compile", compile_wrongly)
    report = optimise(own, Machine("cpu"), extras=(), compile_on_cpu=True)
    assert not report.done("compile")
    assert own.unet._compiled_call_impl is None


def test_the_upscalers_unet_is_optimised_too() -> None:
    upscaler = load("super-resolution", profile("small")).to("cpu")
    assert optimise(upscaler, Machine("cpu", fast_bfloat16=True), extras=()).done("half precision")


@pytest.mark.parametrize("use", [compile_as_graph, compile_whole])
def test_what_the_trial_compiled_serves_the_pipelines(use: Any) -> None:
    """A caller who names more arguments, as None, made torch compile the whole UNet once more."""
    layer, seen = torch.nn.Identity(), []
    layer.compile = lambda **_: setattr(  # type: ignore[method-assign]
        layer, "_compiled_call_impl", lambda x, **kwargs: seen.append(kwargs) or x
    )
    use(layer)
    layer(torch.zeros(1), return_dict=False)
    layer(torch.zeros(1), return_dict=False, timestep_cond=None, added_cond_kwargs=None)
    assert seen[0] == seen[1] == {"return_dict": False}
