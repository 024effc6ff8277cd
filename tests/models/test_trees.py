"""Texts that LightGBM would take for a model, and end the process over."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxidask.models.boosting import lightgbm
from taxidask.models.trees import check_trees


def fitted(objective: str = "regression", leaves: int = 7, rounds: int = 3) -> str:
    random = np.random.default_rng(0)
    table = np.column_stack([random.normal(size=2000), random.integers(0, 40, 2000), random.normal(size=2000)])
    data = lightgbm.Dataset(
        table,
        np.abs(table[:, 0] + table[:, 1] % 7),
        categorical_feature=[1],
        feature_name=["a", "b", "c"],
        params={"verbose": -1},
    )
    given = {"objective": objective, "num_leaves": leaves, "verbose": -1, "num_threads": 1, "deterministic": True}
    return lightgbm.train(given, data, rounds).model_to_string()


TEXT = fitted()


@pytest.mark.parametrize("objective", ["regression", "poisson", "huber", "quantile"])
def test_what_lightgbm_writes_is_a_model(objective: str) -> None:
    check_trees(fitted(objective, leaves=31, rounds=20))
    check_trees(fitted(objective, rounds=1))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("left_child=2", "left_child=9", "do not make a tree"),
        ("left_child=2", "left_child=-99", "do not make a tree"),
        ("left_child=2", "left_child=0", "do not make a tree"),
        ("split_feature=1", "split_feature=7", "a feature that there is not"),
        ("split_feature=1", "split_feature=-1", "a feature that there is not"),
        ("num_leaves=7", "num_leaves=8", "numbers, . were expected"),
        ("num_leaves=7", "num_leaves=0", "has no leaves"),
        ("num_leaves=7", "num_leaves=-7", "num_leaves is"),
        ("threshold=0", "threshold=8", "a set of categories"),
        ("cat_boundaries=0 2", "cat_boundaries=0 9", "overlap"),
        ("is_linear=0", "is_linear=1", "models in them"),
        ("leaf_value=", "leaf_value=x", "no number"),
        ("leaf_value=", "leaf_value=1 ", "numbers, . were expected"),
        ("max_feature_idx=2", "max_feature_idx=9", "other features"),
        ("num_class=1", "num_class=3", "several classes"),
        ("Tree=1", "Tree=2", "cut or not where"),
        ("shrinkage=1", "shrink=1", "none of a model"),
        ("end of trees", "end of tree", "its end is cut"),
    ],
)
def test_what_does_not_hang_together_is_refused(old: str, new: str, told: str) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    head, _, trees = text.partition("\n\n")
    sizes = [len(part) + len("Tree=") for part in trees.partition("end of tree")[0].split("Tree=")[1:]]
    lines = [
        f"tree_sizes={' '.join(map(str, sizes))}" if line[:10] == "tree_sizes" else line for line in head.split("\n")
    ]
    with pytest.raises(ValueError, match=told):
        check_trees("\n".join(lines) + "\n\n" + trees)


def test_a_circle_of_branches_is_refused() -> None:
    lines = dict(line.split("=", 1) for line in TEXT.splitlines() if "_child=" in line)
    left, right = ([int(word) for word in lines[side].split()] for side in ("left_child", "right_child"))
    # its first inner child is moved below that child's own first branch, which goes round for ever
    inner = max(left + right)
    parent = next(i for i, pair in enumerate(zip(left, right, strict=True)) if inner in pair)
    side = left if left[parent] == inner else right
    side[parent], left[inner] = left[inner], inner
    text = TEXT
    for name, values in (("left_child", left), ("right_child", right)):
        text = text.replace(f"{name}={lines[name]}", f"{name}={' '.join(map(str, values))}")
    with pytest.raises(ValueError, match=r"circle|cut or not"):
        check_trees(text)


HARMED = """
import sys
import numpy as np
from taxidask.models.boosting import lightgbm
for text in sys.stdin.read().split("\\0"):
    try:
        booster = lightgbm.Booster(model_str=text)
        booster.predict(np.random.default_rng(0).normal(size=(50, 3)) * 20, num_threads=1)
    except (lightgbm.basic.LightGBMError, ValueError):
        pass
"""


@settings(max_examples=1, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_is_not_refused_does_lightgbm_no_harm(seed: int) -> None:
    """Cut, doubled and edited texts with the sizes made to fit: those that pass are loaded and asked."""
    random = np.random.default_rng(seed)
    passed = [TEXT]
    for _ in range(150):
        words = TEXT.split(" ")
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(len(words)))
            words[at] = str(random.choice([*random.choice(words, 3), "-1", "99", "1e308", "0", "nan", "", "7 8"]))
        text = " ".join(words)
        if random.random() < 0.2:
            low, high = sorted(random.integers(0, len(text), 2))
            text = text[:low] + text[high:]
        try:
            check_trees(text)
        except ValueError:
            continue
        passed.append(text)
    done = subprocess.run([sys.executable, "-c", HARMED], input="\0".join(passed), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(passed) > 1
