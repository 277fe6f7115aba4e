"""Jobs: work that goes on after the request that started it."""
