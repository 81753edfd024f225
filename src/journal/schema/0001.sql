-- The journal of a Wardline gateway. Times are milliseconds since 1970-01-01T00:00:00Z unless a name says otherwise.
-- Only the gateway writes here. REFERENCES are kept by its code and checked by its tests (PRAGMA foreign_key_check).

-- One row: counts since the journal was made, and marks of the process.
CREATE TABLE totals (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    starts INTEGER NOT NULL DEFAULT 0,              -- how often the gateway was started on this journal
    closed_in_order INTEGER NOT NULL DEFAULT 0,     -- 0 while a gateway runs, and after a crash
    frames_rejected INTEGER NOT NULL DEFAULT 0,     -- frames that could not become readings
    readings_committed INTEGER NOT NULL DEFAULT 0,
    readings_known INTEGER NOT NULL DEFAULT 0,      -- arrived again, not stored again
    readings_unassigned INTEGER NOT NULL DEFAULT 0, -- of the committed: nobody's yet, never sent
    told_through_frame INTEGER NOT NULL DEFAULT 0   -- sources were told that frames up to this one are kept
);
INSERT INTO totals (one) VALUES (1);

-- Bytes as they came. bytes IS NULL: removed by retention after everything in them was settled.
CREATE TABLE frame (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,                             -- topic, characteristic, advertisement
    channel TEXT NOT NULL,                          -- MQTT topic, or GATT UUID
    device TEXT,                                    -- as the link tells it; for a topic it is in the readings
    device_name TEXT,
    received_ms INTEGER NOT NULL,
    received_trusted INTEGER NOT NULL,              -- 1: the wall clock was plausible
    received_mono_us INTEGER NOT NULL,              -- microseconds since the boot
    received_boot INTEGER NOT NULL,
    hash BLOB NOT NULL,                             -- SHA-256 of channel, a zero octet, bytes; its first 16 octets
    reject_code TEXT,                               -- WL-…: why nothing came of it
    reject_reason TEXT,
    bytes BLOB
);
CREATE INDEX frame_rejected ON frame (id) WHERE reject_code IS NOT NULL;

CREATE TABLE reading (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,                       -- identity: what arrived, by content (16 octets)
    frame INTEGER NOT NULL REFERENCES frame (id),
    committed_ms INTEGER NOT NULL,
    committed_trusted INTEGER NOT NULL,
    body TEXT NOT NULL,                             -- JSON
    device TEXT AS (body ->> 'device') VIRTUAL,
    patient TEXT AS (body ->> 'patient') VIRTUAL,   -- NULL: unassigned
    vital TEXT AS (body ->> 'vital') VIRTUAL,
    taken_ms INTEGER AS (body ->> '$.taken.at_ms') VIRTUAL
);

-- Every device that sent a reading or was configured at run time; settings: JSON, NULL while the configuration file rules.
CREATE TABLE device (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    settings TEXT,
    settings_ms INTEGER
);

-- Every destination that was ever configured, with its counts.
CREATE TABLE destination (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    configured INTEGER NOT NULL,                    -- 0: no longer in the configuration; its debts stay
    readings_waiting INTEGER NOT NULL DEFAULT 0,
    readings_delivered INTEGER NOT NULL DEFAULT 0,
    readings_rejected INTEGER NOT NULL DEFAULT 0,
    readings_settled_through INTEGER NOT NULL DEFAULT 0, -- nothing waits up to this reading
    alerts_waiting INTEGER NOT NULL DEFAULT 0,
    alerts_delivered INTEGER NOT NULL DEFAULT 0,
    alerts_rejected INTEGER NOT NULL DEFAULT 0,
    alerts_settled_through INTEGER NOT NULL DEFAULT 0,
    failed_ms INTEGER,                              -- when it was last seen failing, and why
    failed_code TEXT,
    failed_text TEXT
);

-- What is owed, and what became of it. state: waiting, delivered, rejected.
CREATE TABLE delivery (
    destination INTEGER NOT NULL REFERENCES destination (id),
    reading INTEGER NOT NULL REFERENCES reading (id),
    device INTEGER NOT NULL REFERENCES device (id), -- order is kept per device
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,                      -- failed ones
    settled_ms INTEGER,
    receipt TEXT,                                   -- where it is at the destination
    already_there INTEGER,                          -- 1: the destination had it before
    PRIMARY KEY (destination, reading)
) WITHOUT ROWID;
CREATE INDEX delivery_rejected ON delivery (destination, reading) WHERE state = 'rejected';

-- Failed attempts: the first seven of an item and the latest.
CREATE TABLE attempt (
    destination INTEGER NOT NULL,
    reading INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (destination, reading, number),
    FOREIGN KEY (destination, reading) REFERENCES delivery (destination, reading)
) WITHOUT ROWID;

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

CREATE TABLE alert_delivery (
    destination INTEGER NOT NULL REFERENCES destination (id),
    alert_event INTEGER NOT NULL REFERENCES alert_event (id),
    alert INTEGER NOT NULL REFERENCES alert (id),   -- order is kept per alert
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    settled_ms INTEGER,
    receipt TEXT,
    already_there INTEGER,
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
    PRIMARY KEY (destination, alert_event, number),
    FOREIGN KEY (destination, alert_event) REFERENCES alert_delivery (destination, alert_event)
) WITHOUT ROWID;

-- MQTT: the latest stored frame of each packet id, to know a redelivery of a message without a time or id of its own.
-- Connections are counted within each start of the gateway.
CREATE TABLE mqtt_packet (
    source TEXT NOT NULL,
    packet_id INTEGER NOT NULL,
    start INTEGER NOT NULL,
    connection INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (source, packet_id)
) WITHOUT ROWID;

-- MQTT: the latest connection that stored a frame.
CREATE TABLE mqtt_connection (
    source TEXT PRIMARY KEY,
    start INTEGER NOT NULL,
    connection INTEGER NOT NULL
) WITHOUT ROWID;
