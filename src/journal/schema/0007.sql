-- What the centre says of patients: who was matched there, and which limits and measurements it ordered.

-- Patients who joined at run time. A row that is damaged is not believed: who it was is none of this box's until matched again.
CREATE TABLE member (
    patient TEXT PRIMARY KEY,                       -- pseudonymous reference
    body TEXT NOT NULL,                             -- JSON: src/roster.rs
    seal INTEGER NOT NULL
) WITHOUT ROWID;

-- What a centre ordered, one row for each content. A row that is damaged is not in force.
CREATE TABLE care (
    id TEXT PRIMARY KEY,                            -- first 12 hex digits of the hash of destination, resource, patient and content
    body TEXT NOT NULL,                             -- JSON: src/careplan.rs
    seal INTEGER NOT NULL
) WITHOUT ROWID;

-- Who changed what of it when: from what to what. Never changed afterwards.
CREATE TABLE care_event (
    number INTEGER PRIMARY KEY,
    body TEXT NOT NULL,                             -- JSON
    seal INTEGER NOT NULL
) WITHOUT ROWID;
