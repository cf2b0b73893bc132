"""The copies that are wrong, made right."""
