"""How fast and how well it works, told while it works: windows of what was counted, and alerts."""
