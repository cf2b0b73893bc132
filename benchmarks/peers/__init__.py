"""What Threadkeep is measured beside: other designs, on the same servers and HTTP server."""
