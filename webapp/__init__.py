"""The HTTP API, the console, the sockets and the command line."""
