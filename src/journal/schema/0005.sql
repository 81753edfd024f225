-- Whose a reading is: who held a device when, why a reading is nobody's, and corrections of what was delivered.

ALTER TABLE reading ADD COLUMN unassigned TEXT;     -- why it is nobody's: a word of src/association.rs; NULL with a patient, and of before
ALTER TABLE reading ADD COLUMN amendment TEXT;      -- JSON: what it corrects, who said so, why

-- Who held a device, or one user slot of it, from the first instant up to the second. JSON, oldest first.
CREATE TABLE held (
    device TEXT PRIMARY KEY,
    history TEXT NOT NULL,
    seal INTEGER NOT NULL                           -- a history that was damaged is not believed: what it would bind is nobody's
) WITHOUT ROWID;

-- Readings that were corrected. Each is taken back by another one, and may have a third in its place.
CREATE TABLE corrected (
    reading INTEGER PRIMARY KEY REFERENCES reading (id),
    withdrawal INTEGER NOT NULL REFERENCES reading (id),
    replacement INTEGER REFERENCES reading (id)
);
