"""The flags of the subcommands of stage 4 that analyse records: one module per subcommand."""
