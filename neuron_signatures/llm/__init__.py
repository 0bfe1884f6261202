"""Language models that answer: over an OpenAI-compatible API, in this process, or none. One interface for all."""
