"""Proof by breaking: a stack of its own under load and disturbance, and what became of each word.

Writers post, edit and delete over HTTP and note every request and answer in a ledger, while
servers and programs are killed, frozen and cut off. In the end the ledger is held against every
tier and the API. ``threadkeep selftest`` runs it; the tests of faults are made of its parts.
"""
