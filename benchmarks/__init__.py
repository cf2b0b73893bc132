"""The benchmarks, a file a figure; each starts servers of its own and leaves nothing behind."""
