"""The paths of the API: one router per module, thin. The work is done elsewhere."""
