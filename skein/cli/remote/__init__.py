"""Talking to a server, and telling of its failures."""
