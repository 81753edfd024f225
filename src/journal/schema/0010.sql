-- Codes of the users of shared scales: the scale gives a user's measurements only to who says that user's code.
CREATE TABLE user_code (
    device TEXT NOT NULL,                           -- ble:C0:26:DF:00:11:22
    slot INTEGER NOT NULL,                          -- the user's number on the scale
    body TEXT NOT NULL,                             -- JSON: src/user_code.rs
    seal INTEGER NOT NULL,                          -- what was damaged is not tried: a scale counts wrong codes
    PRIMARY KEY (device, slot)
) WITHOUT ROWID;
