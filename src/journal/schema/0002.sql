-- The inbox: what people decide about items that are stuck. The items themselves are in rejected, alert_delivery, frame
-- and reading; a group is all that share a cause.

-- One row for each cause that was ever seen.
CREATE TABLE inbox (
    id TEXT PRIMARY KEY,                            -- first 8 hex digits of the hash of kind, place, code and reason
    kind TEXT NOT NULL,                             -- refused, alert, notice, undecodable, unassigned
    place TEXT NOT NULL,                            -- destination, source, or device
    code TEXT NOT NULL,                             -- WL-…
    reason TEXT NOT NULL,                           -- without numbers that differ from item to item
    state TEXT NOT NULL,                            -- open, in-work, waiting, cleared
    opened_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    cleared_ms INTEGER,
    assignee TEXT,
    note TEXT
) WITHOUT ROWID;

-- What happened to a group, and who did it. Never changed afterwards.
CREATE TABLE inbox_event (
    id INTEGER PRIMARY KEY,
    inbox TEXT NOT NULL REFERENCES inbox (id),
    at_ms INTEGER NOT NULL,
    what TEXT NOT NULL,                             -- opened, changed, replayed, discarded, dropped, cleared
    by TEXT,                                        -- NULL: the gateway
    items INTEGER NOT NULL,
    text TEXT
);
CREATE INDEX inbox_event_inbox ON inbox_event (inbox);

-- Items that a person gave up: who and why is in inbox_event. Kept for ever, also when the item itself is long gone.
CREATE TABLE discarded (
    kind TEXT NOT NULL,                             -- as in inbox
    item INTEGER NOT NULL,                          -- row of the reading, alert event, or frame
    destination INTEGER,                            -- NULL: it was owed to nobody
    identity TEXT NOT NULL,                         -- key of the reading, id of the alert, hash of the frame
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    event INTEGER NOT NULL REFERENCES inbox_event (id)
);
CREATE INDEX discarded_item ON discarded (kind, item);

-- Items that were sent again from the inbox: a group is cleared when none of them is owed any more.
CREATE TABLE replayed (
    inbox TEXT NOT NULL REFERENCES inbox (id),
    destination INTEGER NOT NULL REFERENCES destination (id),
    item INTEGER NOT NULL,
    PRIMARY KEY (inbox, destination, item)
) WITHOUT ROWID;

CREATE INDEX frame_stuck ON frame (channel, reject_code, reject_reason, received_ms) WHERE reject_code IS NOT NULL;
CREATE INDEX reading_nobodys ON reading (device, slot, committed_ms) WHERE patient IS NULL;

-- What was found out about a destination: the latest of each kind.
CREATE TABLE probe (
    destination TEXT NOT NULL,
    wrote INTEGER NOT NULL,                         -- 1: resources were written, with its owner's consent
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL,                             -- JSON
    PRIMARY KEY (destination, wrote)
) WITHOUT ROWID;
