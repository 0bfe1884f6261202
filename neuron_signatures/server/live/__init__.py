"""What the API computes with the loaded model: one function per request."""
