-- The journal of a Wardline gateway. Times are milliseconds since 1970-01-01T00:00:00Z unless a name says otherwise.
-- Only the gateway writes here. REFERENCES are kept by its code and checked by its tests (PRAGMA foreign_key_check).

-- One row: counts since the journal was made.
CREATE TABLE totals (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    frames_rejected INTEGER NOT NULL DEFAULT 0,     -- frames that could not become readings
    readings_committed INTEGER NOT NULL DEFAULT 0,
    readings_known INTEGER NOT NULL DEFAULT 0,      -- arrived again, not stored again
    readings_unassigned INTEGER NOT NULL DEFAULT 0  -- of the committed: nobody's yet, never sent
);
INSERT INTO totals (one) VALUES (1);

-- Each start of the gateway. Sources were told of everything that is here, but for the last commit before a crash:
-- of that one it is not known.
CREATE TABLE start (
    id INTEGER PRIMARY KEY,                         -- counts from 1
    at_ms INTEGER NOT NULL,
    first_reading INTEGER NOT NULL,                 -- what it stored begins here
    first_frame INTEGER NOT NULL,
    closed_in_order INTEGER NOT NULL                -- 0: it runs, or it crashed
);

-- Where bytes came from.
CREATE TABLE channel (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,                             -- topic, characteristic, advertisement
    name TEXT NOT NULL,                             -- MQTT topic, or GATT UUID
    device TEXT NOT NULL,                           -- as the link tells it; empty for a topic: it is in the readings
    device_name TEXT NOT NULL,
    UNIQUE (source, kind, name, device, device_name)
);

-- Every device that sent a reading or was configured at run time; settings: JSON, NULL while the configuration file rules.
CREATE TABLE device (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    settings TEXT,
    settings_ms INTEGER
);

-- What was acknowledged: one row for each Observation to be, with the bytes it came from.
CREATE TABLE reading (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,                              -- identity: what arrived, by content (16 octets)
    key_order INTEGER NOT NULL,                     -- the device's own time or number: keeps the index of keys together
    device INTEGER NOT NULL REFERENCES device (id),
    patient TEXT,                                   -- NULL: unassigned, never sent
    channel INTEGER NOT NULL REFERENCES channel (id),
    frame INTEGER,                                  -- the reading that holds the bytes, where one frame gave several; else NULL
    profile TEXT NOT NULL,
    vital TEXT NOT NULL,
    parts TEXT NOT NULL,                            -- JSON: its numbers, with the device's own decimals and units
    slot INTEGER,                                   -- user slot of a shared device
    sequence INTEGER,                               -- the device's record number or the message's id
    taken_ms INTEGER,                               -- NULL: no clock could be trusted (pending: none yet, in this boot)
    taken_uncertainty_ms INTEGER NOT NULL,
    taken_method TEXT NOT NULL,
    device_time TEXT,                               -- as the device said; without Z: its local time
    quality TEXT,                                   -- JSON: labels of doubt
    site TEXT,                                      -- on the body
    from_memory INTEGER NOT NULL,                   -- 1: may be old
    committed_ms INTEGER NOT NULL,
    committed_trusted INTEGER NOT NULL,             -- 1: the wall clock was plausible
    received_ms INTEGER NOT NULL,
    received_trusted INTEGER NOT NULL,
    received_mono_us INTEGER NOT NULL,              -- microseconds since the boot
    received_boot INTEGER NOT NULL,
    bytes BLOB                                      -- NULL: in another row (frame), or removed after all was settled
);
CREATE UNIQUE INDEX reading_key ON reading (key_order, key);
CREATE INDEX reading_pending ON reading (received_boot) WHERE taken_method = 'pending';

-- Frames that gave no reading: rejected, or with nothing to deliver (device information).
CREATE TABLE frame (
    id INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL REFERENCES channel (id),
    received_ms INTEGER NOT NULL,
    received_trusted INTEGER NOT NULL,
    reject_code TEXT,                               -- WL-…: why nothing came of it
    reject_reason TEXT,
    bytes BLOB NOT NULL
);

-- The readings with their keys and devices in plain text, for people and other programs.
CREATE VIEW readings AS
SELECT reading.id, lower(hex(key)) AS key, device.name AS device, patient, vital, parts, taken_ms, received_ms, committed_ms
FROM reading JOIN device ON device.id = reading.device;

-- Every destination that was ever configured, with its counts.
CREATE TABLE destination (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    configured INTEGER NOT NULL,                    -- 0: no longer in the configuration; what it is owed stays
    absent_from_reading INTEGER,                    -- readings from here on are not owed, as it does not want any (now)
    readings_waiting INTEGER NOT NULL DEFAULT 0,
    readings_delivered INTEGER NOT NULL DEFAULT 0,
    readings_rejected INTEGER NOT NULL DEFAULT 0,
    alerts_waiting INTEGER NOT NULL DEFAULT 0,
    alerts_delivered INTEGER NOT NULL DEFAULT 0,
    alerts_rejected INTEGER NOT NULL DEFAULT 0,
    alerts_settled_through INTEGER NOT NULL DEFAULT 0, -- nothing waits up to this alert event
    failed_ms INTEGER,                              -- when it was last seen failing, and why
    failed_code TEXT,
    failed_text TEXT
);

-- What is no longer owed. Each attributed reading is owed to each destination until a span covers it:
-- delivered (see receipt), rejected (see rejected), or never owed.
CREATE TABLE settled (
    destination INTEGER NOT NULL REFERENCES destination (id),
    first_reading INTEGER NOT NULL,
    last_reading INTEGER NOT NULL,
    PRIMARY KEY (destination, first_reading)
) WITHOUT ROWID;

-- Of what is settled: what was never owed to the destination, as it was not there yet, or gone.
CREATE TABLE unowed (
    destination INTEGER NOT NULL REFERENCES destination (id),
    first_reading INTEGER NOT NULL,
    last_reading INTEGER NOT NULL,
    PRIMARY KEY (destination, first_reading)
) WITHOUT ROWID;

-- What the destination answered: one row for each batch.
CREATE TABLE receipt (
    destination INTEGER NOT NULL REFERENCES destination (id),
    first_reading INTEGER NOT NULL,
    last_reading INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    places TEXT NOT NULL,                           -- JSON: [reading, where it is, whether it was there before] of each
    PRIMARY KEY (destination, first_reading, last_reading, at_ms)
) WITHOUT ROWID;

-- What the destination refused for good: a person must look.
CREATE TABLE rejected (
    destination INTEGER NOT NULL REFERENCES destination (id),
    reading INTEGER NOT NULL REFERENCES reading (id),
    at_ms INTEGER NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (destination, reading)
) WITHOUT ROWID;

-- Failed attempts, numbered from 1: the first ones of each reading and the latest.
CREATE TABLE attempt (
    destination INTEGER NOT NULL REFERENCES destination (id),
    reading INTEGER NOT NULL REFERENCES reading (id),
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (destination, reading, number)
) WITHOUT ROWID;

-- The chain of custody: what happened to the readings, each entry sealed with the one before it.
-- what: committed, dated (its time was found later), attempted (failed for the first time), delivered, rejected,
-- removed (by retention), and what was found missing at a destination, and what people decided: replayed, assigned, discarded. detail: JSON, first and last reading
-- of each span, where not all between first_reading and last_reading are meant.
CREATE TABLE custody (
    id INTEGER PRIMARY KEY,                         -- counts from 1; the oldest go together with all their readings
    at_ms INTEGER NOT NULL,
    what TEXT NOT NULL,
    destination INTEGER REFERENCES destination (id),
    first_reading INTEGER NOT NULL,
    last_reading INTEGER NOT NULL,
    detail TEXT,
    digest BLOB NOT NULL,                           -- SHA-256 of what it speaks of
    seal BLOB NOT NULL                              -- SHA-256 of the seal before and of this row
);

-- Alerts as they stand, and what happened to each, never changed afterwards.
CREATE TABLE alert (
    id INTEGER PRIMARY KEY,
    alert_id TEXT NOT NULL UNIQUE,
    raised_ms INTEGER NOT NULL,
    resolved_ms INTEGER,                            -- NULL: open
    body TEXT NOT NULL                              -- JSON
);
CREATE INDEX alert_open ON alert (id) WHERE resolved_ms IS NULL;

CREATE TABLE alert_event (
    id INTEGER PRIMARY KEY,
    alert INTEGER NOT NULL REFERENCES alert (id),
    happened TEXT NOT NULL,                         -- raised, acknowledged, resolved
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL                              -- JSON: the event with the alert as it stood
);
CREATE INDEX alert_event_alert ON alert_event (alert);

-- What is owed of the alerts, and what became of it. state: waiting, delivered, rejected.
CREATE TABLE alert_delivery (
    destination INTEGER NOT NULL REFERENCES destination (id),
    alert_event INTEGER NOT NULL REFERENCES alert_event (id),
    alert INTEGER NOT NULL REFERENCES alert (id),   -- order is kept per alert
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,                      -- failed ones
    settled_ms INTEGER,
    receipt TEXT,                                   -- where it is at the destination
    already_there INTEGER,                          -- 1: the destination had it before
    PRIMARY KEY (destination, alert_event)
) WITHOUT ROWID;
CREATE INDEX alert_delivery_rejected ON alert_delivery (destination, alert_event) WHERE state = 'rejected';

CREATE TABLE alert_attempt (
    destination INTEGER NOT NULL,
    alert_event INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (destination, alert_event, number)
) WITHOUT ROWID;

-- MQTT: packet ids and content of the latest frames, to know a redelivery of a message without a time or id of its own.
-- One row for each commit, source and connection; connections are counted within each start of the gateway.
CREATE TABLE mqtt_marks (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    start INTEGER NOT NULL,
    connection INTEGER NOT NULL,
    packets TEXT NOT NULL                           -- JSON: [packet id, hash] of each, in order
);
