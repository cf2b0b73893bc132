"""The state of the tiers and how fast they work: snapshots, windows of counts, and alerts."""
