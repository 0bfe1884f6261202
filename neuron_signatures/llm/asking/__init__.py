"""What a session does around one request: its key, what was answered before, and the books."""
