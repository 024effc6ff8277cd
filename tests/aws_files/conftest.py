from __future__ import annotations

from pathlib import Path

import pytest

AWS = Path(__file__).resolve().parents[2] / "k8s" / "aws"


@pytest.fixture(scope="session")
def folder() -> Path:
    return AWS
