"""What Skein is about, in plain Python: datasets, versions, queries, ingestions, access."""
