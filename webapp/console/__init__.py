"""The two pages in the browser, and their scripts."""
