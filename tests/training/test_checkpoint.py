"""What a checkpoint holds, and what becomes of one that is damaged, hostile or of another run."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from companion.door import Untrusted
from companion.door.documents import read_json
from companion.training import TrainingConfig, train
from companion.training.checkpoint import Progress, Record, _all_left_out, _check_scaler
from companion.training.checksums import SUMS, Damaged, check_sums, write_sums
from companion.training.state import DoesNotFit, read_tensors

Make = Callable[..., TrainingConfig]
FILES = [
    "SHA256SUMS",
    "average.safetensors",
    "model.safetensors",
    "optimizer.safetensors",
    "random.safetensors",
    "run.json",
]


def test_a_checkpoint_holds_safetensors_json_and_their_checksums(cut: Path) -> None:
    assert sorted(path.name for path in cut.iterdir()) == FILES
    lines = (cut / SUMS).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == FILES[1:]


def test_what_was_cut_off_goes_on_to_the_very_same_losses(
    cut: Path, tiny: Make, tmp_path: Path
) -> None:
    whole = train(tiny(output_dir=str(tmp_path / "whole")))
    assert train(tiny(resume=True)).losses == whole.losses


class Evil:
    """Leaves a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.touch, (self.place,)


def test_a_pickle_is_refused_and_never_run(cut: Path, tiny: Make, tmp_path: Path) -> None:
    (cut / "custom_checkpoint_0.pkl").write_bytes(pickle.dumps(Evil(tmp_path / "evil")))
    with pytest.raises(ValueError, match=r"holds the pickle custom_checkpoint_0\.pkl"):
        train(tiny(resume=True))
    assert not (tmp_path / "evil").exists()


def test_a_checkpoint_of_an_earlier_version_is_refused_and_stays(
    cut: Path, tiny: Make, tmp_path: Path
) -> None:
    for file in cut.glob("*S*"):
        file.unlink()
    (cut / "optimizer.bin").write_bytes(pickle.dumps(Evil(tmp_path / "evil")))
    before = sorted(cut.iterdir())
    with pytest.raises(ValueError, match="finish the run with that one, or begin anew in another"):
        train(tiny(resume=True))
    assert sorted(cut.iterdir()) == before
    assert not (tmp_path / "evil").exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lead_nowhere(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [flip, halve, Path.unlink, lead_nowhere])
@pytest.mark.parametrize("name", FILES)
def test_damage_is_noticed_and_the_one_before_is_offered(
    cut: Path, tiny: Make, name: str, damage: Callable[[Path], None]
) -> None:
    damage(cut / name)
    with pytest.raises(
        ValueError, match=r"00000006 is damaged .*remove this folder.*the one before, .*00000004"
    ):
        train(tiny(resume=True))


def test_checksums_that_lost_a_line_are_damage(cut: Path, tiny: Make) -> None:
    lines = (cut / SUMS).read_text().splitlines(keepends=True)
    (cut / SUMS).write_text("".join(lines[:-1]))
    with pytest.raises(ValueError, match=r"damaged \(SHA256SUMS does not list .*run\.json"):
        train(tiny(resume=True))


def test_the_advice_for_a_damaged_one_works(cut: Path, tiny: Make) -> None:
    shutil.rmtree(cut)
    assert len(train(tiny(resume=True)).losses) == 9


def test_swapped_files_are_noticed(cut: Path, tiny: Make) -> None:
    shutil.copy(cut / "average.safetensors", cut / "model.safetensors")
    with pytest.raises(ValueError, match=r"damaged \(model\.safetensors is not what was written\)"):
        train(tiny(resume=True))


def test_a_single_damaged_checkpoint_is_not_said_to_have_one_before(cut: Path, tiny: Make) -> None:
    shutil.rmtree(cut.with_name("checkpoint-00000004"))
    flip(cut / "run.json")
    with pytest.raises(ValueError, match="the run begins anew, as there is no other"):
        train(tiny(resume=True))


def rewritten(cut: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """A `run.json` of other contents, whose checksum is right."""
    record = json.loads((cut / "run.json").read_text())
    change(record)
    (cut / "run.json").write_text(json.dumps(record))
    (cut / SUMS).unlink()
    write_sums(cut)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda record: record.update(settings=[]), r"damaged \(run\.json .*settings"),
        (lambda record: record["progress"].update(step=-1), r"damaged .*progress\.step"),
        (lambda record: record["progress"].update(batch=99), "does not fit .*batch 99 of epoch 2"),
        (lambda record: record.update(version=3), r"damaged .*version"),
        (lambda record: record.update(groups=[]), "does not fit .*0 groups"),
        (lambda record: record["groups"][0].update(betas="x"), "does not fit .*betas"),
        *(
            (
                lambda record, flag=flag: record["groups"][0].update({flag: True}),
                f"not fit .*{flag}",
            )
            for flag in ("amsgrad", "differentiable", "maximize", "foreach", "eps")
        ),
        *(
            (lambda record, value=value: record["groups"][0].update(eps=value), "not fit .*eps of")
            for value in (float("nan"), float("inf"), 10**400, None, [1.0])
        ),
        (lambda record: record["groups"][0].update(betas=[0.9]), "does not fit .*betas"),
        (
            lambda record: record["settings"].update({"a\x1b[31m": 1}),
            r"was made with a\\x1b\[31m = 1",
        ),
        (lambda record: record.update(random=[]), "does not fit .*number of processes"),
        (lambda record: record.update(averaged=None), "does not fit .*average"),
        (lambda record: record.update(schedule={}), "does not fit .*another lr_scheduler"),
    ],
)
def test_a_hostile_record_is_one_sentence(
    cut: Path, tiny: Make, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    rewritten(cut, change)
    with pytest.raises(ValueError, match=sentence):
        train(tiny(resume=True))


@pytest.mark.parametrize(
    ("name", "tensor", "value"),
    [
        ("model.safetensors", "conv_in.weight", None),
        ("model.safetensors", "conv_in.weight", torch.zeros(3)),
        ("model.safetensors", "conv_in.weight", torch.zeros(8, 3, 3, 3).half()),
        ("average.safetensors", "another", torch.zeros(1)),
        ("optimizer.safetensors", "0.exp_avg", torch.zeros(3)),
        ("optimizer.safetensors", "0.exp_avg", None),
        ("optimizer.safetensors", "9999.step", torch.zeros(())),
        ("optimizer.safetensors", "0.step", torch.tensor(float("nan"))),
        ("optimizer.safetensors", "0.a\x1b[31m", torch.zeros(())),
        ("random.safetensors", "0.torch", torch.full((5056,), 255, dtype=torch.uint8)),
        ("random.safetensors", "0.python", torch.full((625,), 2**40)),
        ("random.safetensors", "0.numpy", torch.full((624,), -1)),
    ],
)
def test_hostile_tensors_are_refused_before_they_are_used(
    cut: Path, tiny: Make, name: str, tensor: str, value: torch.Tensor | None
) -> None:
    tensors = load_file(cut / name)
    tensors.pop(tensor, None)
    if value is not None:
        tensors[tensor] = value
    save_file(tensors, cut / name)
    (cut / SUMS).unlink()
    write_sums(cut)
    with pytest.raises(ValueError, match="does not fit this run") as caught:
        train(tiny(resume=True))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("step", ["7", [7], {}, None, -1, float("nan"), True, 10**400])
def test_a_step_of_the_optimiser_that_is_none_is_refused(
    cut: Path, tiny: Make, step: object
) -> None:
    tensors = load_file(cut / "optimizer.safetensors")
    steps = [name for name in tensors if name.endswith(".step")]
    save_file(
        {name: tensor for name, tensor in tensors.items() if name not in steps},
        cut / "optimizer.safetensors",
    )
    rewritten(cut, lambda record: record["optimizer"].update(dict.fromkeys(steps, step)))
    with pytest.raises(ValueError, match=r"does not fit .*\.step is no number of steps"):
        train(tiny(resume=True))


def without(path: Path, which: Callable[[str], bool]) -> None:
    """A file of tensors that has lost some, with a right checksum."""
    kept = {name: tensor for name, tensor in load_file(path).items() if not which(name)}
    save_file(kept, path)
    (path.parent / SUMS).unlink()
    write_sums(path.parent)


def test_an_optimiser_without_moments_is_refused(cut: Path, tiny: Make) -> None:
    without(cut / "optimizer.safetensors", lambda name: True)
    with pytest.raises(ValueError, match=r"does not fit this run \(its optimiser has no state"):
        train(tiny(resume=True))


def test_a_parameter_whose_moments_are_gone_is_noticed_before_a_step(cut: Path, tiny: Make) -> None:
    without(cut / "optimizer.safetensors", lambda name: name.startswith("3."))
    with pytest.raises(ValueError, match=r"damaged \(of some parameters the optimiser's state is"):
        train(tiny(resume=True))
    assert sorted(path.name for path in cut.parent.iterdir())[-1] == cut.name


SCALER = {
    "scale": 2.0**13,
    "growth_factor": 2.0,
    "backoff_factor": 0.5,
    "growth_interval": 2000,
    "_growth_tracker": 3,
}


def with_scaler(step: int, **changes: float) -> Record:
    return Record(
        2, Progress(step=step), {}, [], [], {}, {}, {**SCALER, **changes}, None, []
    )  # as of a run in fp16


def test_under_fp16_there_are_no_moments_only_where_every_step_was_left_out() -> None:
    assert _all_left_out(with_scaler(3))
    assert not _all_left_out(with_scaler(4))
    assert not _all_left_out(with_scaler(3, scale=2.0**16))


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": float("nan")},
        {"scale": -1.0},
        {"scale": 1e300},
        {"growth_factor": 1e9},
        {"growth_interval": 0},
        {"_growth_tracker": -1},
        {"_growth_tracker": 0.5},
        {"another": 1},
    ],
)
def test_a_scaler_of_other_numbers_is_refused(changes: dict[str, float]) -> None:
    _check_scaler(SCALER, SCALER)
    with pytest.raises(DoesNotFit, match="another gradient scaler"):
        _check_scaler({**SCALER, **changes}, SCALER)


@given(st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_flipped_bit_goes_unseen(begun: Path, data: st.DataObject) -> None:
    place = begun / "checkpoints" / "checkpoint-00000006"
    path = place / data.draw(st.sampled_from(FILES))
    good = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bad)
    try:
        with pytest.raises(Damaged):
            check_sums(place)
    finally:
        path.write_bytes(good)


@given(st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_mutated_record_or_file_of_tensors_is_read_or_refused(
    begun: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = begun / "checkpoints" / "checkpoint-00000006"
    good = (place / data.draw(st.sampled_from(FILES[2:]))).read_bytes()
    start = data.draw(st.integers(0, min(len(good), 4000)))
    end = data.draw(st.integers(start, min(len(good), start + 40)))
    file = tmp_path_factory.getbasetemp() / "mutated"
    file.write_bytes(good[:start] + data.draw(st.binary(max_size=40)) + good[end:])
    with suppress(DoesNotFit):
        read_tensors(file)
    with suppress(Untrusted):
        read_json(Record, file, "run.json")
