"""`--mode swap`: the fewest neurons whose patch from a source prompt makes the model say the source's answer."""
