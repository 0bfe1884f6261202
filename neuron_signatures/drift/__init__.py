"""How neurons differ between checkpoints, or between a model and its fine-tune."""
