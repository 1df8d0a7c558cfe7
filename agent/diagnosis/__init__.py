"""The checks of `run.py doctor`."""
