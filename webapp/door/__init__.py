"""What stands between the HTTP server and the application: no thread is given to a request before
the last byte of its body is there."""
