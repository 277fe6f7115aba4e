"""Rows into datasets, and out of them."""
