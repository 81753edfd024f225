-- Match fields: what one destination finds one patient by, where its site opted into it. Nobody else has a row.
CREATE TABLE demographic (
    patient TEXT NOT NULL,                          -- pseudonymous reference
    destination TEXT NOT NULL,                      -- its name
    body TEXT NOT NULL,                             -- JSON: src/journal/demographics.rs
    seal INTEGER NOT NULL,                          -- what was damaged is not believed: as if it had never been given
    PRIMARY KEY (patient, destination)
) WITHOUT ROWID;
