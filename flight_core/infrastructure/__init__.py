"""Connections and pools that adapters share."""
