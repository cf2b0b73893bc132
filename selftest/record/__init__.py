"""The records of a run: requests and answers, and violations."""
