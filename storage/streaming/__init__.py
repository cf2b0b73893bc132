"""Messages whose text comes in chunks."""
