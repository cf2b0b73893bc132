"""Servers, programs and stacks for tests."""
