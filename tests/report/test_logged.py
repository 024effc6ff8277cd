"""What a kernel logs is told to who builds the report, and is not in it."""

from __future__ import annotations

from nbformat import v4

from taxidask.report.building import _say_what_was_logged


def test_what_was_logged_is_passed_on_and_not_printed(capsys):
    cell = v4.new_code_cell(
        outputs=[
            v4.new_output("stream", name="stderr", text="region us-east-1: s3 is dark\n"),
            v4.new_output("stream", name="stdout", text="one\n"),
        ]
    )
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# A"), cell])
    _say_what_was_logged(notebook)
    assert capsys.readouterr().err == "region us-east-1: s3 is dark\n"
    assert [out["text"] for out in cell["outputs"]] == ["one\n"]
