"""Maintenance of tables: compaction and vacuum."""
