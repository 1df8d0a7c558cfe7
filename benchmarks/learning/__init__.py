"""How much a few corrections change, and what else they change."""
