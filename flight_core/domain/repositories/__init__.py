"""What the core keeps: an interface for each subject.

`flight_core.adapters.catalog` has a module of the same name for each.
"""
