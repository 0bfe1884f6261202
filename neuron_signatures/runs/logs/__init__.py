"""What the logs of explanations and of scores share: names, lines, appending, reading on, settings and checks."""
