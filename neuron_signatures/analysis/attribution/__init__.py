"""The influence of neurons on one prediction: targets, estimators, baselines, and the work of `--mode influence`."""
