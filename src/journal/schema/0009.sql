-- The pair of clocks that a reading was dated by, for whoever wants to know how far the device's own times were off.

ALTER TABLE reading ADD COLUMN clocks TEXT;         -- JSON: what the device's clock said at a moment of ours (src/reading.rs)

-- Keys of readings that were corrected and whose days are over: a device that sends its memory again does not bring them back.
CREATE TABLE bygone (key BLOB PRIMARY KEY) WITHOUT ROWID;
