"""Flags, exit codes, signals, output: what every command shares."""
