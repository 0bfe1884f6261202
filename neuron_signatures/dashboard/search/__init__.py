"""The Search view."""
