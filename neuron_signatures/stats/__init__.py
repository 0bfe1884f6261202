"""Statistics shared by the stages and the viewers: numpy and scipy only."""
