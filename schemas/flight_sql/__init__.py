"""The messages of Flight SQL and the parts of Flight that travel inside actions.

`flight.proto` and `sql.proto` are the declaration; the `_pb2` modules are generated from them.
"""
