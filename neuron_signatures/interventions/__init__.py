"""Stage 3: change neurons, and measure what the model then says, beside controls."""
