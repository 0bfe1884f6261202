"""Stage 2, `--mode write_scores`: the tokens that every neuron promotes and suppresses."""
