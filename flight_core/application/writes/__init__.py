"""Writing to datasets."""
