"""The weights of a running vLLM server, shared with one writing process."""
