"""Contracts of datasets."""
