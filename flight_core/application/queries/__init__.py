"""Reading with SQL."""
