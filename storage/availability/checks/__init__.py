"""Is everything as it must be: found, judged and looked after."""
