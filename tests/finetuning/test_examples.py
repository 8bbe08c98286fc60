"""What is taught: of the atlas, or a reader's own."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from companion.finetuning import FinetuneConfig, load_examples
from companion.finetuning.examples import HELD_OUT, SHOWN, known_prompts
from companion.scenes import caption, export_imagefolder, subset
from companion.zoo import recognise

Make = Callable[..., FinetuneConfig]


def test_an_object_is_shown_on_some_backgrounds_and_asked_for_on_the_others(tiny: Make) -> None:
    examples = load_examples(tiny(dataset_name="object:fox", image_size=64))
    assert examples.pixels.shape == (3, 3, 64, 64)
    assert examples.word == "fox"
    assert examples.captions == tuple(caption(["fox"], background=name) for name in SHOWN[:3])
    assert examples.prompts == tuple(caption(["fox"], background=name) for name in HELD_OUT)
    assert not set(SHOWN) & set(HELD_OUT)
    seen = recognise(examples.images)
    assert [str(what) for what in seen] == [f"fox on {name}" for name in SHOWN[:3]]


def test_a_new_word_stands_in_the_captions(tiny: Make) -> None:
    for changes in ({"token": "<fox>"}, {"method": "textual_inversion"}):
        examples = load_examples(tiny(dataset_name="object:fox", **changes))
        assert examples.captions[0] == f"a <fox> on {_with_article(SHOWN[0])} background"
        assert all("<fox>" in text for text in (*examples.captions, *examples.prompts))


def _with_article(colour: str) -> str:
    return caption(["fox"], background=colour).split(" on ")[1].removesuffix(" background")


def test_a_style_is_shown_with_the_objects_that_the_model_knows(tiny: Make) -> None:
    examples = load_examples(tiny(dataset_name="style:flat", num_pictures=16))
    known = subset("stable-diffusion").objects
    assert [text.split()[-2] for text in examples.captions] == ["flat"] * 16
    assert all(name in text for name, text in zip(known, examples.captions, strict=True))
    flat, solid = (
        load_examples(tiny(dataset_name=f"style:{style}")).pixels for style in ("flat", "3d")
    )
    assert not np.array_equal(flat.numpy(), solid.numpy())


def test_a_folder_has_one_prompt_or_a_text_for_each(mine: Path, tiny: Make, tmp_path: Path) -> None:
    examples = load_examples(tiny(dataset_name=str(mine), prompt="a photo of sks"))
    assert examples.captions == ("a photo of sks",) * 3
    assert examples.prompts == ("a photo of sks",)
    assert examples.pixels[:, :, 8, 8].tolist() == [[10, 0, 30], [10, 20, 30], [10, 40, 30]]
    exported = export_imagefolder(tmp_path / "scenes", range(3), subset="pets", image_size=16)
    rows = [json.loads(line) for line in (exported / "metadata.jsonl").read_text().splitlines()]
    examples = load_examples(tiny(dataset_name=str(exported)))
    assert examples.captions == tuple(row["text"] for row in rows)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset_name": "object:wolf"}, "no object 'wolf' in the atlas: choose one of .*fox"),
        ({"dataset_name": "style:oil"}, "no style 'oil'; choose one of: 3d, flat"),
        ({"dataset_name": "nowhere"}, "no folder nowhere: give one of pictures, or object:NAME"),
        ({"dataset_name": "{mine}"}, "Nothing says what is on the pictures in .*give one prompt"),
        ({"dataset_name": "{empty}", "prompt": "a"}, "There is no picture in the folder"),
        (
            {"dataset_name": "{mine}", "prompt": "a cat", "token": "<cat>"},
            "Not every caption holds the new word <cat>",
        ),
        (
            {"dataset_name": "{mine}", "prompt": "a cat", "method": "textual_inversion"},
            'name it with the setting token, such as token = "<mine>"',
        ),
    ],
)
def test_what_cannot_be_taught_is_said_in_a_sentence(
    changes: dict[str, str], sentence: str, mine: Path, tiny: Make, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"mine": mine, "empty": tmp_path / "empty"}
    given = {key: value.format(**places) for key, value in changes.items()}
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        load_examples(tiny(**given))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"file_name": "0.png", "text": "one"}', "says nothing of the picture 1.png: add a line"),
        ('{"file_name": "0.png"}', "Line 1 of .* is not"),
        ("[1, 2]", "Line 1 of .* cannot be read"),
        ("\x00\x01", "Line 1 of .* cannot be read"),
    ],
)
def test_a_text_that_is_missing_is_named(text: str, sentence: str, mine: Path, tiny: Make) -> None:
    (mine / "metadata.jsonl").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load_examples(tiny(dataset_name=str(mine)))


def test_texts_may_begin_with_a_mark_of_their_encoding(mine: Path, tiny: Make) -> None:
    rows = [{"file_name": f"{n}.png", "text": f"text {n}"} for n in range(3)]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (mine / "metadata.jsonl").write_text(text, encoding="utf-8-sig")
    assert load_examples(tiny(dataset_name=str(mine))).captions == ("text 0", "text 1", "text 2")


def test_pictures_that_are_passed_over_are_said(mine: Path, tiny: Make, tmp_path: Path) -> None:
    (mine / "3.heic").write_bytes(b"....ftypheic")
    with pytest.warns(
        UserWarning, match=r"Passed over: \.heic files \(1\); save .* as JPEG or PNG"
    ):
        load_examples(tiny(dataset_name=str(mine), prompt="a cat"))
    only = tmp_path / "only"
    only.mkdir()
    (mine / "3.heic").rename(only / "3.heic")
    with pytest.raises(ValueError, match=r"no picture in .*Passed over: \.heic files \(1\)"):
        load_examples(tiny(dataset_name=str(only), prompt="a cat"))


def test_a_damaged_picture_is_named(mine: Path, tiny: Make) -> None:
    whole = (mine / "1.png").read_bytes()
    (mine / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"1\.png.*mend it or take it away"):
        load_examples(tiny(dataset_name=str(mine), prompt="a photo"))


def test_the_prior_names_every_object_before_it_names_one_twice() -> None:
    names = subset("stable-diffusion").objects
    prompts = known_prompts(40)
    assert len(set(prompts)) == 40
    assert all(f" {names[n % 16]} " in f" {text} " for n, text in enumerate(prompts))
