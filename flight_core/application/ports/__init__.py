"""The ports: one small Protocol for each role that the use cases need an adapter for."""
