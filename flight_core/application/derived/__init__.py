"""Derived datasets, which are made from others."""
