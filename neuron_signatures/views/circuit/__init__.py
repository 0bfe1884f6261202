"""What the viewers show of a circuit, as plain values."""
