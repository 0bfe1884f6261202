"""Which neurons influence one prediction: targets, estimators, baselines, and the work of `--mode influence`."""
