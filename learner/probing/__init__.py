"""Regression probes on the live weights: NLL, facts, KL to base, leak, follow-rate of what was learned."""
