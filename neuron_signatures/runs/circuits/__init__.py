"""The folder `circuits/`: circuits of single predictions, what tests of them found, and groups made by people."""
