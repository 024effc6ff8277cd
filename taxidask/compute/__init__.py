"""Room: compute."""
