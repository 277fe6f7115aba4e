"""Column profiles of versions."""
