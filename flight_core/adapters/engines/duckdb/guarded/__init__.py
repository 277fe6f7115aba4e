"""Guarded reads: those of actors who may only read, in an isolated process for each actor."""
