"""The data plane: Arrow Flight and Flight SQL."""
