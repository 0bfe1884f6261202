"""`--mode effect`: chosen neurons, changed one by one and as one set."""
