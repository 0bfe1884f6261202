"""The exact mathematics of a circuit: direct edges, relevance, total effects, shares of heads."""

from neuron_signatures.circuits.tracing.frozen import frozen_change
from neuron_signatures.circuits.tracing.heads import head_shares
from neuron_signatures.circuits.tracing.incoming import incoming
from neuron_signatures.circuits.tracing.relevance import Relevance, relevance
from neuron_signatures.circuits.tracing.totals import TotalEffects, total_effects

__all__ = ["Relevance", "TotalEffects", "frozen_change", "head_shares", "incoming", "relevance", "total_effects"]
