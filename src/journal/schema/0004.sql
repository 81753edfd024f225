-- Strangers: what bears this gateway's mark at a destination and is not in its journal.

ALTER TABLE reconciliation ADD COLUMN strangers INTEGER;    -- NULL: not asked
ALTER TABLE reconciliation ADD COLUMN unjudged INTEGER;     -- older than what the journal keeps: nothing can be said
ALTER TABLE reconciliation ADD COLUMN since_ms INTEGER;     -- stored there since then
ALTER TABLE reconciliation ADD COLUMN not_asked TEXT;       -- why not, in a sentence; never patient data
