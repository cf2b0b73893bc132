"""History in and out: export, import, backups."""
