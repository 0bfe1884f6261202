"""What surrounds every page: the run, the sidebar, the selection, the address."""
