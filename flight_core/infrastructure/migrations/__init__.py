"""The history of the catalog's tables. `Database.migrate` applies it; nothing else does.

A new revision is a file in `versions/` that names the one before it as `down_revision`. A released
revision is never edited. `tests/adapters/test_sql_catalog.py` compares the outcome with the tables
that the code declares.
"""
