"""How much one caller may ask for: token buckets for classes of calls, shared by all processes."""
