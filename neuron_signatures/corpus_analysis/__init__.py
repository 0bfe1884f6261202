"""What the records of a corpus say about neurons: similar ones, clusters, several meanings, n-grams, contrasts."""
