"""Stage 7 `compare`: how alike skills and classes are by their units, and which units are specific for a class."""
