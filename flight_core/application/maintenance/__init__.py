"""Keeping tables fast and small, without taking files from those who read them."""
