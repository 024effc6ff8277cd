"""A notebook as PDF: the nbconvert exporter, by way of Typst."""
