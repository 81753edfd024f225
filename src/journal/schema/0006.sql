-- Who consented to what: all that was recorded of one patient and destination. JSON, oldest first; it only grows.
CREATE TABLE consent (
    patient TEXT NOT NULL,
    destination TEXT NOT NULL,                      -- its name: also of one that is not configured now
    history TEXT NOT NULL,
    seal INTEGER NOT NULL,                          -- a history that was damaged is not believed: there is no consent
    PRIMARY KEY (patient, destination)
) WITHOUT ROWID;
