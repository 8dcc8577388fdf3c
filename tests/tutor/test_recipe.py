from __future__ import annotations

import pytest

from tutor.recipe import Recipe, RecipeError


def test_a_change_keeps_its_type_and_leaves_the_rest():
    recipe = Recipe().changed(["muon_lr=.02", "layers=2", "brief=0"])
    assert (recipe.muon_lr, recipe.layers, recipe.brief) == (0.02, 2, 0.0)
    assert isinstance(recipe.layers, int)
    assert recipe == Recipe(muon_lr=0.02, layers=2, brief=0.0)
    assert Recipe().changed([]) == Recipe()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("speed=3", "'speed'"),
        ("layers=2.5", "2.5"),
        ("layers=", "알맞은 수"),
        ("layers", "알맞은 수"),
        ("muon_lr=빨리", "빨리"),
        ("brief=1.5", "0과 1 사이"),
        ("chat_steps=-1", "0보다 작을 수"),
        ("batch_tokens=0", "1 이상"),
    ],
)
def test_an_impossible_change_is_said(change, said):
    with pytest.raises(RecipeError, match=said):
        Recipe().changed([change])


def test_the_recipe_becomes_settings_and_shape():
    recipe = Recipe(width=64, heads=4, muon_lr=0.5, pretrain_steps=3, chat_steps=4)
    assert recipe.settings(9).muon_lr == 0.5
    assert recipe.settings(9).seed == 9
    assert (recipe.config(100).width, recipe.config(100).vocab_size) == (64, 100)
    assert recipe.scratch_steps == {"pretrain": 3, "chat": 4}
    with pytest.raises(RecipeError, match="헤드"):
        Recipe(width=10, heads=3).config(100)
