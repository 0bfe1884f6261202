"""`--mode collect`: what every unit does in every text, and how good each autoencoder is on these tokens."""
