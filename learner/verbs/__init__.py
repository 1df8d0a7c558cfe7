"""Verbs of the command line that need tensors; those are imported when a verb runs, not before."""
