"""Room: demand."""
