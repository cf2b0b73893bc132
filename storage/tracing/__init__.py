"""Traces: who asked, which task was sent for it, and what each tier was asked meanwhile."""
