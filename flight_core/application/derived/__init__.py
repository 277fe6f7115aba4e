"""Datasets that are made from others."""
