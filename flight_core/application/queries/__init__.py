"""Planning and running reads."""
