"""Reads of those who may only read: in processes of their own, one a principal, with what they may see."""
