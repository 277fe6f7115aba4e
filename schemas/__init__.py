"""The published language: what travels over the wire, and nothing else."""
