"""Between the HTTP server and the application: a request is given a thread only when the last byte
of its body is there."""
