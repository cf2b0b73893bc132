"""Redis: client, keys, scripts, messages, states, the pending log, events."""
