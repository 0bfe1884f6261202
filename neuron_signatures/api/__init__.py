"""The messages of the HTTP API, for the server and its client. Needs neither torch nor a network library."""
