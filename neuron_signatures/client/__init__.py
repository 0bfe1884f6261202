"""The client of the HTTP API: what viewers and scripts use to talk to `neuron_signatures.serve`. Needs no torch."""

from neuron_signatures.client.api import Client
from neuron_signatures.client.problem import ServerProblem

__all__ = ["Client", "ServerProblem"]
