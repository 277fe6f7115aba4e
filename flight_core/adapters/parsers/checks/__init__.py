"""Checking rows against a contract: good ones pass, others are rejected."""
