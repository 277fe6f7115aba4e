"""The types of columns: detected, given by the request, or given by a contract."""
