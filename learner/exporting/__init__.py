"""What was learned, in the form of other people's tools: a LoRA adapter near a version, and what it loses."""
