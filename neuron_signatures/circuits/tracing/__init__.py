"""The exact mathematics of a circuit: direct edges, relevance, total effects, shares of heads."""

from neuron_signatures.circuits.tracing.incoming import incoming
from neuron_signatures.circuits.tracing.relevance import Relevance, relevance

__all__ = ["Relevance", "incoming", "relevance"]
