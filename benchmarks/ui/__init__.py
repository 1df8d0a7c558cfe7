"""How fast the pages of `run.py ui` answer."""
