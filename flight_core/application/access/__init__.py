"""Who is calling, what they may do and see, and the record of it."""
