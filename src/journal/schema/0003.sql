-- Checksums of what is delivered and of what decides about debts, as SQLite has none of its pages: src/journal/seal.rs.

ALTER TABLE reading ADD COLUMN seal INTEGER;        -- over what `row.rs` reads of it; NULL: from before there were any
ALTER TABLE alert_event ADD COLUMN seal INTEGER;
ALTER TABLE settled ADD COLUMN seal INTEGER;
ALTER TABLE destination ADD COLUMN seal INTEGER;    -- over id, name, absent_from_reading
ALTER TABLE totals ADD COLUMN unsealed_through INTEGER NOT NULL DEFAULT 0; -- readings up to here may have no seal
UPDATE totals SET unsealed_through = (SELECT coalesce(max(id), 0) FROM reading);

-- What destinations were asked again: do they hold what they said they took? One row for each time.
CREATE TABLE reconciliation (
    destination INTEGER NOT NULL REFERENCES destination (id),
    at_ms INTEGER NOT NULL,
    checked INTEGER NOT NULL,                       -- readings that were asked for
    missing INTEGER NOT NULL,                       -- of these not there: sent again
    stays INTEGER NOT NULL,                         -- of the missing: sent again before, and still not there
    doubled INTEGER NOT NULL,                       -- there more than once
    PRIMARY KEY (destination, at_ms)
) WITHOUT ROWID;

-- Readings that were missing once, and were sent again.
CREATE TABLE resent (
    destination INTEGER NOT NULL REFERENCES destination (id),
    reading INTEGER NOT NULL,
    PRIMARY KEY (destination, reading)
) WITHOUT ROWID;
