"""Use cases: what Skein does, told in terms of ports."""
