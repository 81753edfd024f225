-- Seals of the rows of 0001.sql, as version 3 gave them in its step; the readings stay unsealed.
UPDATE destination SET seal = -3479377926309478209 WHERE id = 1;
UPDATE settled SET seal = 5921305365264140211 WHERE destination = 1 AND first_reading = 0;
UPDATE alert_event SET seal = 9124485413621375034 WHERE id = 1;
INSERT INTO reconciliation VALUES (1, 1795341600000, 1, 0, 0, 0);
