"""The states of sessions and runs, over whichever tier answers."""
