from __future__ import annotations

import uuid

import pytest

from taxidask.errors import ModelError
from taxidask.models.files import load_texts, save_texts
from taxidask.storage import Storage, counted


@pytest.fixture
def url() -> str:
    return f"memory://models-{uuid.uuid4().hex}"


def test_there_and_back(url: str) -> None:
    card = {"data": {"trips": 3}, "metrics": [0.1, None]}
    assert save_texts(url, card, {"mean": "tree\n", "low": "été\n"}, kind="fare") == f"{url}/card.json"
    read, texts = load_texts(url, kind="fare")
    assert texts == {"mean": "tree\n", "low": "été\n"}
    assert read == card | {"kind": "fare", "format": 1, "sha256": read["sha256"]}


def test_the_card_is_written_last_and_the_former_texts_go_after_it(url: str) -> None:
    save_texts(url, {}, {"mean": "old"}, kind="demand")
    seen: list[tuple[str, str, int]] = []
    with counted(Storage(), seen) as storage:
        save_texts(url, {}, {"mean": "new", "low": "new too"}, kind="demand", storage=storage)
    assert [op for op, _, _ in seen] == ["write", "write", "write", "list", "delete"]
    assert seen[2][1].endswith("card.json")
    assert load_texts(url, kind="demand")[1] == {"mean": "new", "low": "new too"}


def test_a_loaded_card_can_be_saved_again(url: str) -> None:
    save_texts(url, {"n": 1}, {"mean": "tree"}, kind="demand")
    first = load_texts(url, kind="demand")
    save_texts(url, first[0], first[1], kind="demand")
    assert load_texts(url, kind="demand") == first


def test_one_kind_is_not_loaded_as_another(url: str) -> None:
    save_texts(url, {}, {"mean": "tree"}, kind="demand")
    with pytest.raises(ModelError, match="card of a 'demand' model, not of a fare model"):
        load_texts(url, kind="fare")
