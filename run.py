"""The command line of heedloop."""
