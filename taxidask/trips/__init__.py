"""Room: trips."""
