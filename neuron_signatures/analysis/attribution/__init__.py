"""The influence of neurons on one prediction: targets, estimators, references, and the work of `--mode influence`."""
