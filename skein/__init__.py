"""Skein: settings, wiring and the command line."""
