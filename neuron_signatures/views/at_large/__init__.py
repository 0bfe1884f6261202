"""What weights and a whole corpus say about neurons, as both viewers and the report show it."""
