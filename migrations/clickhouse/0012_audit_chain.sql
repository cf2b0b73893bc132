-- Each entry's place in the chain of the audit trail, the hash before it, and its own. What an older
-- version copied has none until it is copied again.
ALTER TABLE audit_trail
    ADD COLUMN IF NOT EXISTS position UInt64,
    ADD COLUMN IF NOT EXISTS previous_hash String,
    ADD COLUMN IF NOT EXISTS hash String
