"""Commands that import and export history."""
