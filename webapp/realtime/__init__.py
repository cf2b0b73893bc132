"""The realtime process: WebSockets and event streams, a greenlet each.

Nothing here may be imported by a process that is not patched for gevent.
"""
