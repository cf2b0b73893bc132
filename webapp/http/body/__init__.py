"""The body of a request: read, as a typed value, and as a draft of a message."""
