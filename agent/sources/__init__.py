"""Where turns come from beside the bus."""
