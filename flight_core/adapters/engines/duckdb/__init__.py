"""The DuckDB engine: `engine.py` is the way in."""
