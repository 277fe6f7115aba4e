"""Which type a column has: found out, given by the request, or by a contract."""
