"""Datasets and their versions: listing, describing, comparing, tagging, restoring and dropping them."""
