"""Labellers that need I/O: a judge model behind an endpoint, sentence embeddings in a child process."""
