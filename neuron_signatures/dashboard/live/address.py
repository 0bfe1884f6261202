"""The usual address of the server, as in `client.address`, which imports the network library."""

DEFAULT_URL = "http://127.0.0.1:8600"
URL_VARIABLE = "NEURON_SIGNATURES_SERVER"
