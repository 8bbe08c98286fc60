"""The parsers of listings and notes: whatever they are fed, a checked value or one sentence."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.door import Commit, Untrusted
from companion.hub import fetch, notes
from companion.hub.listing import PAGE, parse_listing, parse_tree
from companion.hub.lookup import make_plan
from companion.hub.selection import select
from companion.hub.stock import Checked
from companion.sources import ModelSource
from faulty_hub import MODEL, WEIGHTS, FaultyHub

COMMIT = Commit("c" * 40)
few = settings(max_examples=150, deadline=None, derandomize=True)
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.sampled_from(["../../x", "a", "b" * 40, "C:\\x", "a/../b", "\x1b[2J", "e\u0301", ""]),
    st.lists(st.integers(), max_size=2),
)
siblings = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "rfilename": odd,
            "size": odd | st.just(5),
            "blobId": odd | st.just("b" * 40),
            "lfs": odd | st.fixed_dictionaries({"sha256": odd | st.just("d" * 64)}),
        },
    ),
    max_size=3,
)
answers = st.fixed_dictionaries(
    {"sha": odd | st.just(COMMIT), "siblings": odd | siblings | siblings}
)


@few
@given(st.one_of(answers.map(json.dumps).map(str.encode), st.binary()))
def test_a_listing_is_checked_values_or_one_sentence(body: bytes) -> None:
    sentence = ""
    try:
        listing = parse_listing(body, "main")
    except Untrusted as error:
        sentence = str(error)
    else:
        for file in listing.files:
            assert os.path.normpath(f"/cache/x/{file.path}").startswith("/cache/x/")
            assert file.size >= 0
    assert not sentence or sentence.isprintable()


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b'{"sha": ' + b"9" * 10_000 + b"}", b"\xff"])
def test_a_deep_or_odd_answer_is_one_sentence(body: bytes) -> None:
    with pytest.raises(Untrusted, match="The list of files cannot be read"):
        parse_listing(body, "main")


@few
@given(st.one_of(answers.map(json.dumps).map(str.encode), st.binary()))
def test_a_note_of_any_content_is_a_listing_or_none(tmp_path_factory: Any, body: bytes) -> None:
    storage = tmp_path_factory.getbasetemp() / "storage"
    (storage / "companion").mkdir(parents=True, exist_ok=True)
    (storage / "companion" / f"{COMMIT}.json").write_bytes(body)
    (storage / "companion" / "checked").write_bytes(body)
    assert notes.listing(storage, COMMIT) is None
    Checked(storage)


def test_what_differs_in_name_from_the_safetensors_beside_it_is_fetched() -> None:
    """As h94/IP-Adapter-FaceID lays them out."""
    adapters = ["faceid_sdxl.bin", "faceid_sdxl_lora.safetensors", "learned_embeds.bin"]
    assert select(adapters) == adapters


@pytest.mark.parametrize(
    ("again", "there"),
    [
        ("pytorch_model.bin", "model.safetensors"),
        ("pytorch_model-00001-of-00002.bin", "model-00001-of-00003.safetensors"),
        ("unet/diffusion_flax_model.msgpack", "unet/diffusion_pytorch_model.safetensors"),
        ("tf_model.h5", "model.safetensors"),
        ("pytorch_model.fp16.bin", "model.safetensors"),
        ("lora.pt", "lora.safetensors"),
    ],
)
def test_the_same_weights_in_another_format_are_left_out(again: str, there: str) -> None:
    assert select([again, there]) == [there]
    assert select([again]) == [again]


def test_what_is_left_out_is_said_in_the_plan(hub: FaultyHub, cache: Path) -> None:
    from companion.hub import find_endpoint

    source = ModelSource(hub="google/ddpm-cat-256")
    lines = str(make_plan({"x": source}, find_endpoint(hub.address))).splitlines()
    assert lines[1].startswith(
        "  Left out as further copies of the weights: diffusion_pytorch_model.bin;"
    )


def test_a_listing_of_many_files_takes_seconds(hub: FaultyHub, cache: Path) -> None:
    many = [
        {"rfilename": f"data/{i % 100}/{i}.fp16.png", "size": i, "blobId": f"{i:040x}"}
        for i in range(20_000)
    ]
    hub.tell(lambda told: told.update(siblings=many))
    from companion.hub import find_endpoint

    started = time.process_time()
    plan = make_plan({"x": ModelSource(hub="google/ddpm-cat-256")}, find_endpoint(hub.address))
    assert plan.size == sum(range(20_000))
    assert f"{len(many)} files" in str(plan)
    assert time.process_time() - started < 10


def test_a_host_that_drops_the_question_for_sizes_is_asked_for_the_tree(
    hub: FaultyHub, cache: Path
) -> None:
    def names_only(told: Any) -> None:
        if isinstance(told, dict):
            told["siblings"] = [{"rfilename": s["rfilename"]} for s in told["siblings"]]

    hub.tell(names_only)
    (folder,) = fetch("denoiser", "full", where=hub.address, progress=False).values()
    assert (folder / WEIGHTS).read_bytes() == (hub.folder / MODEL / WEIGHTS).read_bytes()


TREES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": odd | st.sampled_from(["file", "directory"]),
            "path": odd,
            "size": odd | st.just(5),
            "oid": odd | st.just("b" * 40),
            "lfs": odd | st.fixed_dictionaries({"oid": odd | st.just("d" * 64)}),
        },
    ),
    max_size=3,
)


@few
@given(st.one_of(TREES.map(json.dumps).map(str.encode), st.binary()))
def test_a_tree_is_checked_values_or_one_sentence(body: bytes) -> None:
    with suppress(Untrusted):
        for file in parse_tree(body, COMMIT).files:
            assert os.path.normpath(f"/cache/x/{file.path}").startswith("/cache/x/")


def test_a_tree_that_may_go_on_is_refused() -> None:
    entry = {"type": "file", "path": "a", "size": 1, "oid": "b" * 40}
    body = json.dumps([entry] * PAGE).encode()
    with pytest.raises(Untrusted, match="there may be more"):
        parse_tree(body, COMMIT)
