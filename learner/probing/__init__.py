"""Regression probes on the live weights: general NLL, facts, KL to base, follow-rate of what was learned."""
