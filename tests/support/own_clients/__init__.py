"""Our own clients, as tests use them."""
