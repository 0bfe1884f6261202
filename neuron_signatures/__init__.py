"""Which MLP neurons made the model say this, what does each mean, and is that true?"""
