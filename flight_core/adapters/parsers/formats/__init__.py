"""The parsers of the file formats."""
