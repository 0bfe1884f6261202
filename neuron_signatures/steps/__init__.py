"""The steps of `python -m neuron_signatures.pipeline`: from a configuration to commands of the stages."""
