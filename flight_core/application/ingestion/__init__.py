"""Ingestion: from sources to datasets."""
