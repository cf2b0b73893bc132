"""Messages, users and figures, made and compared."""
