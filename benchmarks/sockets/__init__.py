"""Clients of the sockets, good and bad ones, and a comparison of what they received with what was
sent."""
