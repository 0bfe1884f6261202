"""What is known of one pole of a neuron, as an explainer shows it; from documents of the part `explain` only."""
