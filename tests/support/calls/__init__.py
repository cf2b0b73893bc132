"""Clients of the API, the sockets, the command line and the console."""
