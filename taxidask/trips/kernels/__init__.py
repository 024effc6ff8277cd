"""The compiled pass over CSV bytes."""
