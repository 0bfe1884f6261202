"""Does the explanation of a unit belong to a class? Language models, baselines, hand labels, and their agreement."""
