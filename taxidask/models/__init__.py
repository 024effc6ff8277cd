"""What both models share: text files with a card, LightGBM, metrics.

Only for itself: trees. Tests: tests/models.
"""
