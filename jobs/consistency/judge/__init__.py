"""Which of several copies is right, and whether a difference is one at all."""
