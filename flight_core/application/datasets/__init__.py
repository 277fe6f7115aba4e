"""Datasets and their versions: looked at, described, named, dropped."""
