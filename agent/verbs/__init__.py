"""What each verb of the command line does: data on stdout, talk on stderr. `run.py` only parses and calls."""
