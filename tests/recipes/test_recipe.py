"""Recipes: read at the door, in the order in which they are trained."""

from pathlib import Path

import pytest

from companion.recipes import recipe
from companion.recipes.recipe import load_recipe, recipe_names


def test_the_learning_rate_warms_up_stays_and_ends_near_zero() -> None:
    recipe = load_recipe("ddpm")
    assert recipe.rate(0) == pytest.approx(recipe.learning_rate / recipe.warmup_steps)
    assert recipe.rate(recipe.steps // 2) == recipe.learning_rate
    assert 0 < recipe.rate(recipe.steps - 1) < recipe.learning_rate / 1000


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_can_be_read(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.steps > recipe.warmup_steps >= 0


def test_every_recipe_is_of_a_registered_model() -> None:
    assert {path.stem for path in recipe.RECIPES.glob("*.toml")} == set(recipe_names())


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose one of: classifier, vae, stable-diffusion, ddpm"):
        load_recipe("gan")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("steps =", "step =", "steps: field required"),
        ("steps =", "width = 3\nsteps =", "width: unexpected keyword argument"),
        ("seed = 14", 'seed = "14"', "seed: input should be a valid integer"),
        ("seed = 14", "seed = ", "Invalid value"),
    ],
)
def test_a_recipe_with_a_fault_is_one_sentence(
    old: str, new: str, fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stored = (recipe.RECIPES / "ddpm.toml").read_text(encoding="utf-8")
    (tmp_path / "ddpm.toml").write_text(stored.replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(recipe, "RECIPES", tmp_path)
    with pytest.raises(ValueError, match=rf"^The recipe .*ddpm\.toml cannot be read: .*{fault}"):
        load_recipe("ddpm")
    with pytest.raises(ValueError, match=r"^The recipe .*vae\.toml cannot be read: .*No such file"):
        load_recipe("vae")


def test_later_recipes_need_earlier_ones() -> None:
    names = recipe_names()
    for place, name in enumerate(names):
        settings = load_recipe(name).settings
        needs = {settings[key] for key in ("vae", "base", "depth_estimator") if key in settings}
        assert needs <= set(names[:place])
