"""Clients of the sockets, good and bad ones, and what they were told held against what was sent."""
