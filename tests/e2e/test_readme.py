"""The README's own code, run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


@pytest.mark.timeout(600)
def test_first_steps_run_as_a_plain_script(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "300_000" in code
    script = tmp_path / "first_steps.py"
    script.write_text(code.replace("300_000", "30_000"))
    ended = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
