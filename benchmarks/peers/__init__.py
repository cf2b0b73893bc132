"""Other designs that Threadkeep is compared with, on the same servers and HTTP server."""
