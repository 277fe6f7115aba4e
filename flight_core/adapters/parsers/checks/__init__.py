"""Rows held against a contract: the good ones pass, the others are set apart."""
