"""The Interventions view: swaps, effects and steering."""
