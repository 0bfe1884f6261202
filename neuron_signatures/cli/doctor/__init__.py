"""`neuron-signatures doctor`: checks of the set-up. Imports no model library: those are tried in a child process."""
