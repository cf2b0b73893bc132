"""What both clients have in common. Nothing here does input or output, or waits."""
