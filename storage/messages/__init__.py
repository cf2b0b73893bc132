"""Post, edit, delete, read and stream messages, over whichever tier answers."""
