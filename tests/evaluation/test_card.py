"""What is written of a model: its card, and its line in the list of all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from companion.evaluation.card import write_card
from companion.recipes.recipe import load_recipe
from companion.zoo import entries
from companion.zoo.registry import WEIGHTS


@pytest.mark.parametrize("name", entries())
def test_the_stored_card_is_what_is_written_of_the_stored_figures(
    name: str, tmp_path: Path
) -> None:
    model = entries()[name]
    stored = (model.path / "README.md").read_text(encoding="utf-8")
    figures = json.loads((model.path / "evaluation.json").read_text())
    device = stored.partition(" on the ")[2].partition(",")[0]
    card = write_card(replace(model, path=tmp_path), load_recipe(name), figures, device)
    assert card.read_text(encoding="utf-8") == stored
    assert json.loads((tmp_path / "evaluation.json").read_text()) == figures


def test_a_model_of_other_data_has_its_own_words_on_its_licence(tmp_path: Path) -> None:
    model = replace(entries()["ddpm"], path=tmp_path, licence="Weights: CC0, of my own pictures.")
    card = write_card(model, load_recipe("ddpm"), {}, "CPU").read_text(encoding="utf-8")
    assert card.endswith("## Licence\n\nWeights: CC0, of my own pictures.\n")


def test_the_list_of_the_page_holds_every_model_in_the_order_of_the_registry() -> None:
    rows = (WEIGHTS / "README.md").read_text(encoding="utf-8").splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [
        [f"| {model.name}", model.summary] for model in entries().values()
    ]
