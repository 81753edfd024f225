-- Checksums of what is delivered and of what decides about debts, as SQLite has none of its pages: src/journal/seal.rs.

ALTER TABLE reading ADD COLUMN seal INTEGER;        -- over what `row.rs` reads of it; NULL: from before there were any
ALTER TABLE alert_event ADD COLUMN seal INTEGER;
ALTER TABLE settled ADD COLUMN seal INTEGER;
ALTER TABLE destination ADD COLUMN seal INTEGER;    -- over id, name, absent_from_reading
ALTER TABLE totals ADD COLUMN unsealed_through INTEGER NOT NULL DEFAULT 0; -- readings up to here may have no seal
UPDATE totals SET unsealed_through = (SELECT coalesce(max(id), 0) FROM reading);
