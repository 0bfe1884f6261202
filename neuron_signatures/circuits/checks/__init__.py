"""Tests of a circuit by intervention: sets kept or ablated, single neurons ablated, groups swapped between prompts."""
