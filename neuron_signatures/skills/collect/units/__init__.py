"""What the units of one bank do: encoding, sums over texts, quality of an autoencoder."""
