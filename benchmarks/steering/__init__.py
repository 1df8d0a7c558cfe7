"""What steering vectors are worth: follow-rate without the direction in the prompt, and what they cost."""
