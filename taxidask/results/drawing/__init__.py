"""What a page draws without computing: maps of days, all cells in one item, and the cells' outlines."""
