"""Room: fare."""
