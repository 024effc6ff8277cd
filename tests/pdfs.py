"""What stands in a PDF."""

from __future__ import annotations

import pypdfium2


def text_of(pdf: bytes) -> str:
    """The text of all pages, in the order it was drawn."""
    with pypdfium2.PdfDocument(pdf) as document:
        return "\n".join(page.get_textpage().get_text_bounded() for page in document).replace("\r\n", "\n")
