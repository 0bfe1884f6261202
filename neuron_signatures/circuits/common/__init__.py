"""What the circuits of several prompts of one template have in common, and what changes with the entity."""
