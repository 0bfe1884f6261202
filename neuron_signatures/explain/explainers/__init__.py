"""The seven explainers that ask a language model; one module per prompt."""
