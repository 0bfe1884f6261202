"""Planted neurons, whose meaning is known, and tests of scorers with them."""
