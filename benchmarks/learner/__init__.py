"""The learner: passes, optimizers, and what they cost."""
