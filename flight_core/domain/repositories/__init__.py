"""The interfaces of what is stored in the catalog, one for each subject.

`flight_core.adapters.catalog` implements each in a module of the same name.
"""
