"""Commands that bring history in and out."""
