"""Flags, exit codes, signals and output, shared by all commands."""
