-- Rows as version 1 wrote them: 1 delivered, 2, 4 and 5 owed, 3 nobody's; an open alert that is owed.
-- Keys are those of tests/journal/support.rs: the spread number, then the number.
UPDATE totals SET readings_committed = 5, readings_unassigned = 1;
INSERT INTO start VALUES (1, 1795341000000, 1, 1, 1);
INSERT INTO channel VALUES (1, 'home', 'topic', 'vitals/cuff', '', '');
INSERT INTO device VALUES (1, 'cuff', NULL, NULL), (2, 'nobody', NULL, NULL);
INSERT INTO reading
WITH n(id, key, device, patient) AS (VALUES
    (1, x'9E3779B97F4A7C150000000000000001', 1, 'Patient/p'),
    (2, x'3C6EF372FE94F82A0000000000000002', 1, 'Patient/p'),
    (3, x'DAA66D2C7DDF743F0000000000000003', 2, NULL),
    (4, x'78DDE6E5FD29F0540000000000000004', 1, 'Patient/p'),
    (5, x'1715609F7C746C690000000000000005', 1, 'Patient/p'))
SELECT id, key, id, device, patient, 1, NULL, 'test', 'heart-rate', '[{"role":"value","value":{"number":61},"unit":"/min"}]', NULL, id,
    1795341600000, 1000, 'received', NULL, NULL, NULL, 0, 1795341600000, 1, 1795341600000, 1, 1795341600000000, 1, x'3631'
FROM n;
INSERT INTO destination (id, name, configured, readings_waiting, readings_delivered, alerts_waiting)
VALUES (1, 'centre', 1, 3, 1, 1);
INSERT INTO settled VALUES (1, 0, 1);
INSERT INTO receipt VALUES (1, 1, 1, 1795341600000, '[[1,"Observation/1/_history/1",false]]');
INSERT INTO alert VALUES (1, 'a', 1795341600000, NULL,
    '{"id":"a","rule":"hr-high","condition":"limit","priority":"high","patient":"Patient/p","device":null,"vital":null,"text":"heart rate 150 /min, limit 120","evidence":[],"raised":{"wall_ms":1795341600000,"mono_us":1795341600000000,"boot":1,"trusted":true},"received":{"wall_ms":1795341600000,"mono_us":1795341600000000,"boot":1,"trusted":true},"acknowledged":null,"resolved":null}');
INSERT INTO alert_event VALUES (1, 1, 'raised', 1795341600000,
    '{"happened":"raised","at":{"wall_ms":1795341600000,"mono_us":1795341600000000,"boot":1,"trusted":true},"alert":{"id":"a","rule":"hr-high","condition":"limit","priority":"high","patient":"Patient/p","device":null,"vital":null,"text":"heart rate 150 /min, limit 120","evidence":[],"raised":{"wall_ms":1795341600000,"mono_us":1795341600000000,"boot":1,"trusted":true},"received":{"wall_ms":1795341600000,"mono_us":1795341600000000,"boot":1,"trusted":true},"acknowledged":null,"resolved":null}}');
INSERT INTO alert_delivery VALUES (1, 1, 1, 'waiting', 0, NULL, NULL, NULL);
