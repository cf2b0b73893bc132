"""What clients see, over HTTP and sockets. A package, so that its stacks end with it."""
