"""Sparse autoencoders: reading them from folders and releases, encoding, decoding, and how well they fit.

sources = saes_of("demo", model=sae_model_of(model), sites=("res",), layers=(3,))
sae = sources[0].load(model.device)
features = sae.encode(activations)
"""
