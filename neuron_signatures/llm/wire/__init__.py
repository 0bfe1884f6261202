"""What is sent to a server and what comes back: bounded HTTP, retries, and answers read from raw responses."""
