-- The hash of the message that a key made: while nobody has the message itself, a repeat with another
-- text is told apart by it. What was told before has none.
ALTER TABLE told_keys ADD COLUMN IF NOT EXISTS content_hash String
