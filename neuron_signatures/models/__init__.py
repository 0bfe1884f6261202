"""Loading any dense transformer, capturing its neurons and reading its tokens."""
