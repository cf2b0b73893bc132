"""How the servers and programs of a stack are started, watched and ended."""
