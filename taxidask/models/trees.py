"""Whether a LightGBM text is a whole model: LightGBM believes it, and over some texts ends the process.

It reads arrays of the lengths that the text tells, and while it predicts follows children and looks into sets of
categories by the numbers given there, without asking whether they are inside.
"""

from __future__ import annotations

import re
from collections.abc import Set
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", np.int64, np.float64)

_TREE = re.compile(r"Tree=(\d+)\n((?:\w+=[^\n]*\n)+)\n+")
_LINE = re.compile(r"(\w+)=([^\n]*)\n?")
_REST = re.compile(r"end of trees\n\s*feature_importances:\n([^\n=]+=\d+\n)*\s*(parameters:\n(\[[^\n]*\]\n)*\nend of "
                   r"parameters\n\s*)?(pandas_categorical:[^\n]*\n?)?\s*")  # fmt: skip
_HEADER = {
    *("version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective"),
    *("feature_names", "feature_infos", "tree_sizes"),
}
_INNER = {"split_feature", "left_child", "right_child", "decision_type"}  # whole numbers, one for each split
_INNER_FLOATS = {"split_gain", "threshold", "internal_value", "internal_weight", "internal_count"}
_LEAF_FLOATS = {"leaf_value", "leaf_weight", "leaf_count"}
_ONE = {"num_leaves", "num_cat", "is_linear", "shrinkage"}
_CATEGORIES = {"cat_boundaries", "cat_threshold"}
_CATEGORICAL = 1  # bit of decision_type


def check_trees(text: str) -> None:
    """Raise ValueError, with what is wrong, unless a text is a LightGBM model of whole trees."""
    head = text.partition("\n\n")[0]
    if not head.startswith("tree\n") or not text.isascii():
        raise ValueError("it does not begin as a LightGBM model")
    header = _lines(head.removeprefix("tree\n"), _HEADER)
    features = header["feature_names"].split()
    if _whole(header["max_feature_idx"], "max_feature_idx") != len(features) - 1:
        raise ValueError("it has other features than it says")
    if (header["num_class"], header["num_tree_per_iteration"]) != ("1", "1"):
        raise ValueError("it has several classes")
    if len(header["feature_infos"].split()) != len(features):
        raise ValueError("it does not tell the range of each feature")
    sizes = [_whole(size, "tree_sizes") for size in header["tree_sizes"].split()]
    at = len(head) + 2
    for number, size in enumerate(sizes):
        tree = _TREE.fullmatch(text, at, at + size)
        if tree is None or int(tree[1]) != number:
            raise ValueError(f"tree {number} is cut or not where it should be")
        try:
            _check_tree(tree[2], len(features))
        except ValueError as error:
            raise ValueError(f"tree {number}: {error}") from None
        at += size
    if not sizes or not _REST.fullmatch(text, at):
        raise ValueError("its end is cut or has more than LightGBM writes")


def _check_tree(text: str, features: int) -> None:
    lines = _lines(text, _INNER | _INNER_FLOATS | _LEAF_FLOATS | _ONE, maybe=_CATEGORIES)
    leaves, categories = _whole(lines["num_leaves"], "num_leaves"), _whole(lines["num_cat"], "num_cat")
    if leaves < 1 or lines["is_linear"] != "0":
        raise ValueError("it has no leaves, or models in them")
    inner = {name: _numbers(lines[name], leaves - 1, name, np.int64) for name in _INNER}
    floats = {name: _numbers(lines[name], leaves - 1, name, np.float64) for name in _INNER_FLOATS}
    for name in _LEAF_FLOATS:
        if leaves > 1 or lines[name]:  # of a lone leaf, its weight is left out
            _numbers(lines[name], leaves, name, np.float64)
    _numbers(lines["shrinkage"], 1, "shrinkage", np.float64)
    if leaves > 1:
        _check_children(inner["left_child"], inner["right_child"], leaves)
        if inner["split_feature"].min() < 0 or inner["split_feature"].max() >= features:
            raise ValueError("it splits by a feature that there is not")
    by_category = inner["decision_type"] & _CATEGORICAL == _CATEGORICAL
    if categories:
        bounds = _numbers(lines.get("cat_boundaries", ""), categories + 1, "cat_boundaries", np.int64)
        _numbers(lines.get("cat_threshold", ""), int(bounds[-1]), "cat_threshold", np.int64)
        if bounds[0] != 0 or any(one > other for one, other in pairwise(bounds.tolist())):
            raise ValueError("its sets of categories overlap")
    asked = floats["threshold"][by_category]
    if not ((asked >= 0) & (asked < max(categories, 0)) & (asked == np.floor(asked))).all():
        raise ValueError("it asks for a set of categories that there is not")


def _check_children(left: NDArray[np.int64], right: NDArray[np.int64], leaves: int) -> None:
    """Each inner node but the first, and each leaf, is the child of exactly one; a child comes after its parent."""
    children = np.concatenate([left, right])
    expected = np.concatenate([np.arange(-leaves, 0), np.arange(1, leaves - 1)])
    if not np.array_equal(np.sort(children), expected):
        raise ValueError("its branches do not make a tree")
    parents = np.tile(np.arange(leaves - 1), 2)
    if (children[children > 0] <= parents[children > 0]).any():
        raise ValueError("its branches go in a circle")


def _lines(text: str, names: Set[str], maybe: Set[str] = frozenset()) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[1] in found or match[1] not in names | maybe:
            raise ValueError(f"the line {line[:60]!r} is none of a model")
        found[match[1]] = match[2]
    if missing := sorted(names - set(found)):
        raise ValueError(f"it lacks {', '.join(missing)}")
    return found


def _whole(text: str, name: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError(f"{name} is {text[:40]!r}")
    return int(text)


def _numbers(text: str, count: int, name: str, kind: type[T]) -> NDArray[T]:
    words = text.split(" ") if text else []
    if len(words) != count:
        raise ValueError(f"{name} has {len(words)} numbers, {count} were expected")
    try:
        numbers: NDArray[T] = np.array(words).astype(kind) if words else np.empty(0, kind)
    except (ValueError, OverflowError):
        raise ValueError(f"{name} holds what is no number") from None
    if kind is np.float64 and np.isnan(numbers).any():
        raise ValueError(f"{name} holds what is no number")
    return numbers
