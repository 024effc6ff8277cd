from __future__ import annotations

import uuid

import pytest

from taxidask.errors import ModelError
from taxidask.models.files import load_texts, save_texts
from taxidask.storage import Storage, counted


def tree(value: float, name: str = "a") -> str:
    """As LightGBM writes a model of a lone leaf."""
    body = (
        f"Tree=0\nnum_leaves=1\nnum_cat=0\nsplit_feature=\nsplit_gain=\nthreshold=\ndecision_type=\nleft_child=\n"
        f"right_child=\nleaf_value={value}\nleaf_weight=\nleaf_count=20\ninternal_value=\ninternal_weight=\n"
        "internal_count=\nis_linear=0\nshrinkage=1\n\n\n"
    )
    head = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\n"
        f"objective=regression\nfeature_names={name}\nfeature_infos=none\ntree_sizes={len(body)}\n\n"
    )
    return f"{head}{body}end of trees\n\nfeature_importances:\n\nparameters:\n[boosting: gbdt]\n\nend of parameters\n"


OLD, NEW, OTHER = tree(1.0), tree(2.0), tree(3.0)


@pytest.fixture
def url() -> str:
    return f"memory://models-{uuid.uuid4().hex}"


def test_there_and_back(url: str) -> None:
    card = {"data": {"trips": 3}, "metrics": [0.1, None]}
    assert save_texts(url, card, {"mean": OLD, "low": NEW}, kind="fare") == f"{url}/card.json"
    read, texts = load_texts(url, kind="fare")
    assert texts == {"mean": OLD, "low": NEW}
    assert read == card | {"kind": "fare", "format": 1, "sha256": read["sha256"]}


def test_the_card_is_written_last_and_the_former_texts_go_after_it(url: str) -> None:
    save_texts(url, {}, {"mean": OLD}, kind="demand")
    seen: list[tuple[str, str, int]] = []
    with counted(Storage(), seen) as storage:
        save_texts(url, {}, {"mean": NEW, "low": OTHER}, kind="demand", storage=storage)
    assert [op for op, _, _ in seen] == ["write", "write", "stat", "read", "replace", "delete"]
    assert seen[4][1].endswith("card.json")
    assert load_texts(url, kind="demand")[1] == {"mean": NEW, "low": OTHER}


def test_a_loaded_card_can_be_saved_again(url: str) -> None:
    save_texts(url, {"n": 1}, {"mean": OLD}, kind="demand")
    first = load_texts(url, kind="demand")
    save_texts(url, first[0], first[1], kind="demand")
    second = load_texts(url, kind="demand")
    assert second[1] == first[1]
    assert second[0] | {"sha256": ""} == first[0] | {"sha256": ""}


def test_one_kind_is_not_loaded_as_another(url: str) -> None:
    save_texts(url, {}, {"mean": OLD}, kind="demand")
    with pytest.raises(ModelError, match="card of a 'demand' model, not of a fare model"):
        load_texts(url, kind="fare")


def test_who_reads_while_a_model_is_replaced_gets_the_former_or_the_new_one(url: str, monkeypatch) -> None:
    """Replaced between the reading of its card and of each of its texts, again and again."""
    save_texts(url, {"n": 0}, {"mean": OLD, "low": OLD}, kind="demand")
    read, rounds = Storage.read, iter([1, 2, 3])

    def replaced(storage: Storage, where: str, *span: int) -> bytes:
        if where.endswith(".txt") and (n := next(rounds, 0)):
            with monkeypatch.context() as patch:
                patch.setattr(Storage, "read", read)
                save_texts(url, {"n": n}, {"mean": NEW, "low": tree(n)}, kind="demand")
        return read(storage, where, *span)

    monkeypatch.setattr(Storage, "read", replaced)
    card, texts = load_texts(url, kind="demand")
    assert card["n"] == 3
    assert texts == {"mean": NEW, "low": tree(3)}


@pytest.mark.parametrize("same", [True, False])
def test_two_that_save_at_once_leave_one_whole_model(url: str, monkeypatch, same: bool) -> None:
    save_texts(url, {"n": 0}, {"mean": OLD}, kind="demand")
    replace, others = Storage.replace, iter([{"mean": OLD if same else NEW}])

    def late(storage: Storage, where: str, *rest: object) -> bool:
        if texts := next(others, None):
            save_texts(url, {"n": 1}, texts, kind="demand")
        return replace(storage, where, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Storage, "replace", late)
    save_texts(url, {"n": 2}, {"mean": OLD, "low": OTHER}, kind="demand")
    card, texts = load_texts(url, kind="demand")
    assert (card["n"], texts) == (2, {"mean": OLD, "low": OTHER})
    assert len(Storage().list(url)) == 3, "what was replaced is gone"


def test_a_text_with_its_hash_made_to_fit_is_checked_before_lightgbm_sees_it(url: str) -> None:
    for text in ("", "tree\n", OLD[:-200], OLD.replace("num_leaves=1", "num_leaves=9"), "été"):
        save_texts(url, {}, {"mean": text}, kind="demand")
        with pytest.raises(ModelError, match=r"model-mean-\S+\.txt is no model: "):
            load_texts(url, kind="demand")
