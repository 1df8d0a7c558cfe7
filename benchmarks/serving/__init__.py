"""What live weights cost the clients of a server, beside a stock server of the same build in the same run."""
