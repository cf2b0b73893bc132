"""Sources of history: a file a format, each a pure generator of sealed messages."""
