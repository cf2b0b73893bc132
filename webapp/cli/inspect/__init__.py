"""Commands that inspect."""
