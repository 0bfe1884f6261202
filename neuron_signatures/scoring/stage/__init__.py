"""The work of stage 6: which explanations and controls are scored, by what, and where the scores are stored."""
