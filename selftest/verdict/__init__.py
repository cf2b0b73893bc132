"""Whether the store kept its promises."""
