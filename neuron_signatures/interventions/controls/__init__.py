"""Control edits, and what an effect shows beside them."""
