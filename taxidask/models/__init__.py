"""What both models share: text files with a card, LightGBM, metrics.

Tests: tests/models.
"""
