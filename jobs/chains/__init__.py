"""Hash chains over the versions of each thread's messages."""
