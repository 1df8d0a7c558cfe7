"""Versions as files: lossless deltas to the base model, and what is done with them."""
