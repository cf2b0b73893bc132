"""Proof by fault injection: a stack of its own under load and faults, and a check of each promise.

Writers post, edit and delete over HTTP and record every request and answer in a ledger, while
servers and programs are killed, frozen and cut off. At the end the ledger is compared with every
tier and the API. ``threadkeep selftest`` runs it; the tests of faults use its parts.
"""
