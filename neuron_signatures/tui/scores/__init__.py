"""What the browser shows of scores: beside explanations, and true and simulated activations side by side."""
