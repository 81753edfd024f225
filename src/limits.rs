//! Every queue length, time-out and cap, with its reason. Nothing elsewhere is unbounded.

use std::time::Duration;

/// Frames between the sources and the pipeline. Full: the source stops reading, the broker keeps the rest.
pub const FRAMES_WAITING_MAX: usize = 2_048;
/// Frames decoded and committed as one group at most (design §4).
pub const COMMIT_GROUP_MAX: usize = 1_000;
/// Groups handed to the journal and not yet synced. Beyond it the pipeline stops taking frames.
pub const COMMITS_IN_FLIGHT_MAX: usize = 4;
/// Commands waiting for the journal's thread.
pub const JOURNAL_COMMANDS_MAX: usize = 64;
/// How long a lock of a foreign reader (`sqlite3`) may hold up the writer before it gives up.
pub const JOURNAL_BUSY_MAX: Duration = Duration::from_secs(5);
/// Page cache of the writer: the hot pages of the tables' ends, and some of the index of keys.
pub const JOURNAL_CACHE_KIB: u32 = 2 * 1024;
/// Page cache of each reader.
pub const JOURNAL_READER_CACHE_KIB: u32 = 512;
/// The WAL is written back at this many pages (4 KiB each).
pub const JOURNAL_WAL_PAGES: u32 = 1_000;
/// A WAL that is still longer has readers in its way: 12 MiB.
pub const JOURNAL_WAL_PAGES_LONG: u32 = 3_000;
/// How long the writer waits for a reader that keeps the WAL from beginning anew.
pub const JOURNAL_RESTART_WAIT: Duration = Duration::from_millis(250);
/// Newest readings among which a key is looked for first.
pub const NEWEST_SEARCHED: i64 = 5_000;
/// A WAL that grew (a long reader) is cut back to this.
pub const JOURNAL_WAL_KEPT_BYTES: u64 = 8 * 1024 * 1024;
/// How soon readings that wait for the clock get their time once it is right.
pub const CLOCK_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon a consent that begins at a set time is seen to begin, whatever the clocks do.
pub const CONSENT_LOOK_EVERY: Duration = Duration::from_secs(10);
/// Words about one patient's consents for one destination, at most.
pub const CONSENT_WORDS_MAX: usize = 500;
/// Categories in one word about consents, at most.
pub const CONSENT_CATEGORIES_MAX: usize = 64;
/// Counting what waits for consents takes at most one part in so many of the time.
pub const CONSENT_COUNT_SHARE: u32 = 20;
/// A clock that is not set for longer is a technical condition: a box without a battery asks the network first.
pub const CLOCK_WRONG_ALERT: Duration = Duration::from_secs(300);
/// Faults of the chain of custody that are listed: enough to see what happened.
pub const FAULTS_LISTED_MAX: usize = 100;
/// A night's questions to one destination, at most.
pub const RECONCILIATION_MAX: Duration = Duration::from_secs(3_600);
/// Of these, the search for strangers, at most.
pub const STRANGERS_MAX: Duration = Duration::from_secs(900);
/// The same while a person waits.
pub const STRANGERS_ASKED_MAX: Duration = Duration::from_secs(60);
/// Pages read of one destination in a search for strangers: 50,000 Observations, some 40 MiB.
pub const STRANGERS_PAGES_MAX: usize = 500;
/// And octets.
pub const STRANGERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Strangers shown by name to the person who asked.
pub const STRANGERS_SHOWN_MAX: usize = 20;
/// Days that an account of custody goes back at most.
pub const CUSTODY_DAYS_MAX: u32 = 400;
/// A lock that is held is tried so often, half a second in all.
pub const JOURNAL_LOCK_TRIES: u32 = 20;
/// Pause between two of them.
pub const JOURNAL_LOCK_PAUSE: Duration = Duration::from_millis(25);
/// Integrity check at start after a crash: recording again comes first.
pub const JOURNAL_CHECK_MAX: Duration = Duration::from_secs(2);
/// Integrity check at start after an orderly end.
pub const JOURNAL_GLANCE_MAX: Duration = Duration::from_millis(50);
/// A start that takes long asks the service manager for so much more, microseconds: 60 s, as the unit's own limit.
pub const START_EXTENDED_US: u32 = 60_000_000;
/// And asks again after this.
pub const START_EXTENDED_EVERY: Duration = Duration::from_secs(15);
/// In all: what takes longer is a hang. A journal of 512 MiB is written anew in minutes on a slow card.
pub const START_MAX: Duration = Duration::from_secs(3_600);
/// How often the free space of the disk is asked for.
pub const JOURNAL_SPACE_EVERY: Duration = Duration::from_secs(1);
/// Settlements that nobody waits for are synced with the next commit, or after this: a crash meanwhile sends them again.
pub const SETTLE_LINGER: Duration = Duration::from_millis(100);
/// Arrivals merged into one transaction: beyond it, its latency would show.
pub const JOURNAL_MERGED_MAX: usize = 4 * COMMIT_GROUP_MAX;
/// Readings kept in memory between their commit and their first lease.
pub const JOURNAL_RECENT_MAX: usize = 4_096;
/// Debts looked at by one lease: a long row of settled or blocked ones is passed in slices.
pub const LEASE_WALK_MAX: usize = 10_000;
/// How often the journal looks for what may go.
pub const RETENTION_EVERY: Duration = Duration::from_secs(60);
/// The same while nothing is written.
pub const RETENTION_QUIET_EVERY: Duration = Duration::from_secs(3_600);
/// Between two steps of it, so that commits go first.
pub const RETENTION_STEP_EVERY: Duration = Duration::from_millis(100);
/// Readings looked at in one step: more than one frame can hold.
pub const RETENTION_STEP_ROWS: u32 = READINGS_PER_FRAME_MAX as u32 + 100;
/// Free pages that stay in the file for the next readings.
pub const JOURNAL_FREE_PAGES_KEPT: u32 = 1_024;
/// Salvage looks for rows in pages that nothing leads to, at most so long: recording again comes first.
pub const SALVAGE_SEARCH_MAX: Duration = Duration::from_secs(2);
/// Pages of a file that are looked at to tell whose it is, where its beginning does not: a start that is refused is tried
/// again every two seconds.
pub const PAGES_LOOKED_AT: usize = 1_024;
/// Damaged rows taken over, to be set aside one by one; more are in the file that is kept.
pub const SALVAGED_DAMAGED_MAX: usize = 10_000;
/// Damaged files kept for inspection.
pub const DAMAGED_KEPT_MAX: usize = 3;
/// A number of a row beyond this was never given: it is damage.
pub const ROWS_MAX: i64 = 1 << 53;
/// Failed attempts kept of one item: the first ones and the latest.
pub const ATTEMPTS_KEPT_MAX: u32 = 8;
/// Rows of devices, and of channels, kept in memory.
pub const NAMES_IN_MEMORY_MAX: usize = 4_096;
/// Frames of each MQTT source that are remembered to know a redelivery: more than can be unacknowledged.
pub const MQTT_MARKS_MIN: usize = 2 * MQTT_IN_FLIGHT_MAX as usize;
/// Readings looked through at start for the newest of each patient and vital.
pub const RECOVERED_READINGS_MAX: u32 = 5_000;
/// Of them, kept for each patient and vital.
pub const RECOVERED_PER_VITAL_MAX: usize = 64;
/// Answers waiting for a source: at least its in-flight window, so that telling never blocks.
pub const TOLD_WAITING_MAX: usize = 4_096;
/// The largest payload decoded. Larger ones are kept as rejects by their first bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// The largest value of a characteristic (Bluetooth Core, ATT). Advertisements are smaller.
pub const CHARACTERISTIC_BYTES_MAX: usize = 512;
/// How much of an oversized payload is kept as evidence.
pub const OVERSIZED_KEPT_BYTES: usize = 1_024;
/// Readings that one frame may hold: an array payload larger than this is rejected whole.
pub const READINGS_PER_FRAME_MAX: usize = 1_000;
/// Nesting of JSON and CBOR payloads.
pub const PAYLOAD_DEPTH_MAX: usize = 16;
/// The longest text taken from a payload (ids, units).
pub const TEXT_CHARS_MAX: usize = 128;
/// MQTT publishes unacknowledged at once.
pub const MQTT_IN_FLIGHT_MAX: u16 = 1_000;
/// An MQTT message is taken up to this size with its topic and properties; of a larger one, this beginning.
pub const MQTT_PACKET_BYTES_MAX: u32 = 1024 * 1024;
/// Silence after which the broker is asked whether it is there; as long again without an answer, and the link counts as
/// dead, within a minute in all. The broker gives us up after one and a half times this.
pub const MQTT_KEEP_ALIVE: Duration = Duration::from_secs(25);
/// Connecting, TLS and the broker's welcome together.
pub const MQTT_CONNECT_MAX: Duration = Duration::from_secs(15);
/// Reconnecting waits a random time below a bound that doubles from the first to the second of these.
pub const MQTT_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A connection that lasted this long was a good one: the bound starts again at its first value.
pub const MQTT_STEADY: Duration = Duration::from_secs(10);
/// Short connections that brought messages count for no more failures than this: at most eight seconds between two.
pub const MQTT_USEFUL_ATTEMPTS: u32 = 3;
/// The in-flight window that brokers have by default (mosquitto): a burst stops there until something is acknowledged.
pub const MQTT_BROKER_WINDOW: usize = 20;
/// Topics remembered, so that a known one costs no allocation.
pub const MQTT_TOPICS_REMEMBERED: usize = 1_024;
/// Absence from the broker after which queued messages no longer count as live.
pub const MQTT_ABSENCE_MAX: Duration = Duration::from_secs(10);
/// A broker that did not fill the in-flight window for this long has no backlog left for us.
pub const MQTT_BACKLOG_QUIET: Duration = Duration::from_secs(1);
/// At shutdown, how long acknowledgements of what the journal still commits are waited for.
pub const MQTT_FAREWELL_MAX: Duration = Duration::from_secs(3);
/// A file with a password, a key or certificates is read this far.
pub const SECRET_FILE_BYTES_MAX: u64 = 256 * 1024;
/// A destination's table of codes and units: each row has some 200 octets.
pub const MAPPING_BYTES_MAX: u64 = 256 * 1024;
/// An answer of a destination is read this far; an endless body ends here.
pub const RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Orderly shutdown: whatever is not done by then is done after the restart.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// Open alerts kept in memory. Beyond it a technical alert says so.
pub const ALERTS_IN_MEMORY_MAX: usize = 10_000;
/// Of these, alerts of devices without a known patient: a flood of invented devices must not crowd out patients.
pub const ALERTS_UNASSIGNED_MAX: usize = 1_000;
/// Readings that the alert engine knows again: well above what a broker may send twice (`MQTT_IN_FLIGHT_MAX` per source).
pub const ALERT_KEYS_KEPT: usize = 16_384;
/// Alert rules: a reading is compared with each rule of its vital.
pub const ALERT_RULES_MAX: usize = 1_000;
/// The longest look back of a rule, in readings; the journal gives at least as many per patient and vital at start.
pub const SUSTAINED_READINGS_MAX: usize = 16;
// Values in doubt do not count: there must be room for them beside those that do.
const _: () = assert!(RECOVERED_PER_VITAL_MAX >= 4 * SUSTAINED_READINGS_MAX);
/// A technical alert from before a restart ends if nobody has reported its condition again by then.
pub const TECHNICAL_REPORTED_MAX: Duration = Duration::from_secs(300);
/// Readings shown by one request of the page or the CLI.
pub const READINGS_LISTED_MAX: usize = 1_000;
/// Patients of one box, matched at run time: a ward. Each is asked for at the centre every night.
pub const PATIENTS_MAX: usize = 1_000;
/// A person waits while a patient is looked for: as long as a destination may take.
pub const MATCH_MAX: Duration = Duration::from_secs(60);
/// Orders of a centre without force that are kept for one patient, beside those that a person declined; the oldest go first.
pub const CARE_ORDERS_MAX: usize = 200;
/// Lines kept of what happened to orders.
pub const CARE_EVENTS_KEPT: usize = 10_000;
/// Pages read of one patient's orders of one kind: 500 resources.
pub const CARE_PAGES_MAX: usize = 10;
/// Targets read of one Goal, activities of one CarePlan.
pub const CARE_PARTS_MAX: usize = 20;
/// The longest time between two measurements that an order may expect.
pub const CARE_EVERY_MAX: Duration = Duration::from_secs(366 * 86_400);
/// All questions of one round about orders, to one destination.
pub const CARE_ROUND_MAX: Duration = Duration::from_secs(600);
/// Alerts asked about in one request: an identifier has some 60 octets, and a URL of 2,000 is taken everywhere.
pub const TASKS_ASKED_MAX: usize = 20;
/// Alerts asked about in one round, to one destination; the others' turn is in the next ones.
pub const TASKS_ROUND_MAX: usize = 200;
/// Tasks on a page. One for each alert that was asked about, and room for doubles.
pub const TASKS_SHOWN_MAX: usize = 100;
/// Pages read of one answer about Tasks.
pub const TASK_PAGES_MAX: usize = 4;
/// All questions of one round about Tasks, to one destination.
pub const TASKS_PATIENCE: Duration = Duration::from_secs(60);
/// A name that the centre gives to the owner of a Task; with the destination's name it fits `TEXT_CHARS_MAX`.
pub const TASK_OWNER_CHARS_MAX: usize = 64;
/// Times that a Task is read again because somebody else wrote it meanwhile.
pub const TASK_TRIES: usize = 3;
/// A centre that could not be asked about Tasks so often in a row is said to be away.
pub const TASKS_FAILED_MAX: u32 = 3;
/// Readings corrected by one order.
pub const CORRECTED_AT_ONCE_MAX: usize = 10_000;
/// A request body on the control socket.
pub const CONTROL_BODY_BYTES_MAX: usize = 256 * 1024;
/// An answer of the control socket, as the command line reads it: 1,000 readings with their standings fit.
pub const CONTROL_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The lab's endpoint reads a request body this far, and as much again uncompressed ten times: a full Bundle is near 2 MiB.
pub const LAB_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A TLS handshake with the lab's endpoint.
pub const LAB_HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Bodies the lab's endpoint keeps when it is asked to keep any.
pub const LAB_BODIES_MAX: usize = 100_000;
/// Frames that the simulated source has sent and not been told of.
pub const SIM_IN_FLIGHT_MAX: usize = 1_000;
/// A simulated device sends a frame again that it was not told of for so long: far beyond a slow commit.
pub const SIM_RESEND_AFTER: Duration = Duration::from_secs(30);
/// Patients shown on the local page.
pub const PAGE_PEOPLE_MAX: usize = 200;
/// Points of a trend on the local page.
pub const PAGE_POINTS_MAX: usize = 120;
/// Rows of the journal that the page reads when there is news; more only after a gap.
pub const PAGE_WINDOW: usize = 250;
/// While nobody looks, the page follows the journal this often.
pub const PAGE_FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// The page reads the journal at most so often, however many look at it.
pub const PAGE_REFRESH_MIN: Duration = Duration::from_millis(500);
/// Connecting to a destination, TLS included; an address that swallows packets is given up after this.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is obeyed: a destination cannot switch itself off for a day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// The same for an alert, which cannot wait that long.
pub const ALERT_RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// While a destination is away, it is asked within this, with one item: its return is seen within a second.
pub const ABSENCE_RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(900));
/// A destination that answers but is unwell is asked again after a random time up to a bound that doubles between these.
pub const UNWELL_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// One item that fails while others pass is tried again after a time that doubles between these.
pub const ITEM_RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));
/// After so many failures an item travels alone, so that it cannot fail the others of its batch.
pub const SUSPECT_ATTEMPTS: u32 = 3;
/// After so many failures while others passed, some nine minutes, an item is refused: a person must look, and its device's
/// later readings need not wait for it any more.
pub const ITEM_ATTEMPTS_MAX: u32 = 8;
/// Items held by one destination at once, in batches: the journal is asked once for so many batches.
pub const BATCHES_IN_HAND: usize = 5;
/// How long a probe of an absent destination is held before its failure is recorded: each record is a sync.
pub const PROBE_HELD_MAX: Duration = Duration::from_secs(60);
/// A destination with nothing to do looks into the journal this often, should a wake-up have been missed.
pub const IDLE_LOOK: Duration = Duration::from_secs(300);
/// At shutdown, how long an answer that is under way is waited for.
pub const DELIVERY_FAREWELL_MAX: Duration = Duration::from_secs(2);
/// A receipt's location is kept this far.
pub const LOCATION_CHARS_MAX: usize = 256;
/// Thin traffic to a file waits this long for company: each batch is a sync.
pub const NDJSON_LINGER: Duration = Duration::from_millis(200);
/// How far back the last NDJSON file is read at start, to know lines that were written and not settled.
pub const NDJSON_TAIL_BYTES: u64 = 4 * 1024 * 1024;
/// An answer of an HL7 receiver is read this far: an acknowledgement has some hundred octets.
pub const HL7_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Acknowledgements of other messages that are passed over while one is waited for.
pub const HL7_STRAYS_MAX: usize = 16;
/// Control ids remembered, to know a late acknowledgement for what it is.
pub const HL7_SENT_REMEMBERED: usize = 64;
/// Messages sent one after the other before their outcomes are recorded: so many are sent again after a crash.
pub const HL7_MESSAGES_PER_BATCH: usize = 10;
/// So often may a connection that was kept turn out to be closed; then each message gets its own.
pub const HL7_STALE_MAX: u32 = 3;
/// Readings in one message.
pub const HL7_READINGS_PER_MESSAGE_MAX: usize = 100;
/// After so many refusals (AR) in a row it is the receiver that is down, and no message is suspected.
pub const HL7_REFUSALS_MAX: u32 = 3;
/// Characters of a patient's identifier at a receiver. HL7 v2.6 has room for 15 in CX.1, which national numbers exceed.
pub const MATCH_IDENTIFIER_CHARS_MAX: usize = 64;
/// Characters of a family name: FN.1 of HL7 v2.6. A longer one is refused, as one that was cut would match somebody else.
pub const MATCH_FAMILY_CHARS_MAX: usize = 50;
/// Characters of a given name, and of further ones: XPN.2 and XPN.3 of HL7 v2.6.
pub const MATCH_GIVEN_CHARS_MAX: usize = 30;
/// Octets of a file of match fields.
pub const MATCH_FILE_BYTES_MAX: u64 = 4_096;
/// Thin traffic to an HL7 receiver waits this long for company: its outcomes are recorded together.
pub const HL7_LINGER: Duration = Duration::from_millis(50);
/// The journal is asked again after this when it cannot answer now.
pub const OUTBOX_RETRY: Duration = Duration::from_secs(1);
/// Topics and payload ids whose device id is kept ready; beyond it they are worked out anew.
pub const DEVICE_IDS_CACHED_MAX: usize = 4_096;
/// Octets of a text that a device says of itself are at most 512; people write shorter ones on it.
pub const NAMEPLATE_TEXT_MAX: usize = 64;
/// Devices of which it is held what they say of themselves.
pub const NAMEPLATE_DEVICES_MAX: usize = 4_096;
/// A device is asked again what it says of itself: its firmware may have been changed elsewhere.
pub const NAMEPLATE_AGAIN: Duration = Duration::from_secs(24 * 3_600);
/// A Device that could not be brought up to date at a destination waits so long; so do pairs of clocks where one was not taken.
pub const DEVICE_RENEWAL_AGAIN: Duration = Duration::from_secs(600);
/// Bluetooth devices of which something is remembered between two frames.
pub const DEVICES_REMEMBERED_MAX: usize = 256;
/// Segments of one blood pressure record: each holds at least 15 octets of at most some 30.
pub const RECORD_SEGMENTS_MAX: usize = 16;
/// Frames of a vendor in one notification: each has at least 6 octets.
pub const FRAMES_JOINED_MAX: usize = 64;
/// Glucose records of one meter that wait for their context: a meter sends it right after each record.
pub const RECORDS_HELD_MAX: usize = 64;
/// Frames that are no readings of a known device, of one sender in a second for long. A frame of `n` KiB counts for
/// `n + 1`.
pub const DEVICE_FRAMES_PER_SECOND: u32 = 100;
/// And at once: more than can have waited in the broker as shipped (`config/mosquitto.conf`).
pub const DEVICE_FRAMES_BURST: u32 = 170_000;
/// Streams that are gathered at once; what is beyond is delivered value by value.
pub const STREAMS_MAX: usize = 256;
/// Bytes of one period of a stream, with six for each value.
pub const STREAM_BYTES_MAX: usize = 60 * 1_024;
/// A stream that says nothing for so long is over.
pub const STREAM_QUIET: Duration = Duration::from_secs(5);
/// Devices whose rates are remembered; of them, those that were quiet are forgotten first.
pub const DEVICE_RATES_MAX: usize = 4_096;
/// Of the frames of a flood, so many are kept as evidence; the rest is counted.
pub const FLOOD_FRAMES_KEPT: u32 = 100;
/// A flood is over when nothing was refused for so long.
pub const FLOOD_QUIET: Duration = Duration::from_secs(60);
/// A full disk is tried again after this; the sources wait meanwhile.
pub const DISK_FULL_RETRY: Duration = Duration::from_secs(1);
/// A source or destination that is down for so long is a technical alert; shorter is a restart.
pub const LINK_DOWN_ALERT: Duration = Duration::from_secs(60);
/// Technical conditions on their way to the pipeline.
pub const CONDITIONS_WAITING_MAX: usize = 256;
/// Orders of people on their way to the pipeline.
pub const ORDERS_WAITING_MAX: usize = 64;
/// The pipeline turns at least four times in this, and looks at alert conditions that end with time; a turn that takes
/// longer than this is a hang.
pub const PIPELINE_PATIENCE: Duration = Duration::from_secs(20);
/// Messages of the lab's devices waiting for the broker.
pub const LAB_MQTT_QUEUE_MAX: usize = 1_000;
/// Spans of settled readings looked through for the oldest one that is owed.
pub const SPANS_WALKED_MAX: usize = 10_000;
/// Failures shown for each destination.
pub const FAILURES_LISTED_MAX: usize = 20;
/// The journal's thread answers at least so often. Longer than a disk that stalls for half a minute takes to be signalled
/// and to recover: a restart would not help it, and would silence the local signal.
pub const JOURNAL_PATIENCE: Duration = Duration::from_secs(40);
/// Groups of the inbox read at once, cleared ones too.
pub const INBOX_CASES_LISTED_MAX: usize = 1_000;
/// Items, and lines of history, shown of one group.
pub const INBOX_ITEMS_SHOWN_MAX: usize = 100;
/// Items of the inbox taken in one transaction, so that commits of readings go between.
pub const INBOX_STEP_ITEMS: usize = 500;
/// Items of one dry run that are asked about in one request, when the destination is not asked.
pub const INBOX_CHECKED_MAX: usize = 500;
/// The same, when it is: each is a request to it, and a person waits.
pub const INBOX_VALIDATED_MAX: usize = 20;
/// How often it is looked whether a group began or ended; at most, as each look reads the journal.
pub const INBOX_LOOK_EVERY: Duration = Duration::from_secs(5);
/// Groups of which each has a notice of its own; further ones share one, so that a flood of strangers is one alert.
pub const INBOX_NOTICES_MAX: usize = 50;
/// The longest note or reason that a person may write about a group of the inbox.
pub const INBOX_TEXT_CHARS_MAX: usize = 1_000;
/// Requests that a destination with a stated rate gets at once after a pause: what it allows in this time.
pub const BURST_MAX: Duration = Duration::from_secs(10);
/// Parallel senders of one reading in a probe: as many as a retry storm has at its worst.
pub const PROBE_SENDERS: usize = 8;
/// A probe takes at most so long; what it has not found out by then is not known.
pub const PROBE_MAX: Duration = Duration::from_secs(150);
/// So often a probe tries a Bundle of a kind before it holds that the kind does not work.
pub const PROBE_TRIES: usize = 3;
/// Bluetooth connections at once when the settings say nothing: what cheap controllers carry. One that carries fewer refuses,
/// and the device is tried again.
pub const BLE_CONNECTED_DEFAULT: usize = 7;
/// And at most.
pub const BLE_CONNECTED_MAX: usize = 16;
/// Any call over D-Bus: bluetoothd answers in milliseconds, or hangs.
pub const BLE_CALL_MAX: Duration = Duration::from_secs(5);
/// Connecting with the discovery of services: a device that wakes for seconds connects within one.
pub const BLE_CONNECT_MAX: Duration = Duration::from_secs(25);
/// One read, write or subscription: ATT itself gives up after 30 s, and nobody waits that long.
pub const BLE_GATT_MAX: Duration = Duration::from_secs(10);
/// BlueZ takes 2 s of its own to disconnect.
pub const BLE_RELEASE_MAX: Duration = Duration::from_secs(6);
/// A question of the plan that no value answers within this is given up: shorter than the silence of a crowded adapter.
pub const BLE_ASK_MAX: Duration = Duration::from_secs(3);
/// A history that sends nothing for so long has broken off.
pub const BLE_HISTORY_SILENCE: Duration = Duration::from_secs(20);
/// A connection on which nothing came for so long is released: the device may sleep.
pub const BLE_QUIET: Duration = Duration::from_secs(60);
/// The same while another device waits for its turn.
pub const BLE_QUIET_CROWDED: Duration = Duration::from_secs(4);
/// A connection that goes on sending gives its place to a waiting device after this.
pub const BLE_TURN_MAX: Duration = Duration::from_secs(60);
/// A device that was not heard for so long and is heard again has woken: it is served first.
pub const BLE_ASLEEP: Duration = Duration::from_secs(15);
/// A device that was not heard for so long is not tried: it cannot answer.
pub const BLE_HEARD_MAX: Duration = Duration::from_secs(20);
/// A device is tried again after a time that doubles between these, sooner when it wakes.
pub const BLE_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// A device that was served and stays awake is connected again after this: it may have measured anew.
pub const BLE_AGAIN: Duration = Duration::from_secs(10);
/// Values of one connection that wait for the pipeline; more at once is a flood.
pub const BLE_VALUES_WAITING_MAX: usize = 512;
/// Values a second that a connection may send for long outside a history; what a person measures is far below.
pub const BLE_VALUES_PER_S: u32 = 20;
/// Values beyond it that are forgiven: a memory that is sent without being asked.
pub const BLE_VALUES_BURST: u32 = 1_000;
/// A bonded device that ends so many connections in a row at once has lost its half of the bond; fewer can be chance.
pub const BLE_CUT_OFF: u32 = 3;
/// A device that floods is left alone for so long.
pub const BLE_QUARANTINE: Duration = Duration::from_secs(600);
/// After the end of a connection, how long the commit of its last values is waited for.
pub const BLE_SETTLE_MAX: Duration = Duration::from_secs(10);
/// Gaps in a device's records that are kept, the newest.
pub const BLE_GAPS_KEPT_MAX: usize = 8;
/// So long a gap is said: a person comes by once a week.
pub const BLE_GAP_SAID: Duration = Duration::from_secs(7 * 86_400);
/// bluetoothd holds a connection that we let go, for so long: longer than the commit of its last values is waited for.
pub const BLE_SLOT_HELD: Duration = Duration::from_secs(12);
/// Between two steps against it.
pub const BLE_SLOT_STEP: Duration = Duration::from_secs(10);
/// The adapter is not switched off while other devices are connected, until a connection is held for so long.
pub const BLE_SLOT_PATIENCE: Duration = Duration::from_secs(60);
/// How often bluetoothd and the adapter are asked whether they work.
pub const BLE_LOOK_EVERY: Duration = Duration::from_secs(10);
/// Nothing heard for so long, where something was heard before: the scan is started anew, then the adapter, then our part.
pub const BLE_SILENCE: Duration = Duration::from_secs(25);
/// Between two steps of this.
pub const BLE_SILENCE_STEP: Duration = Duration::from_secs(15);
/// Silence that nothing healed is looked at again after this: nobody may be there to be heard.
pub const BLE_SILENCE_AGAIN: Duration = Duration::from_secs(600);
/// Devices with gauges of their own: more than any home has, and each is some lines of `/metrics`.
pub const METRIC_DEVICES_MAX: usize = 64;
/// A device whose advertisement tells neither name nor service of a profile is connected to after this: it may only broadcast.
pub const BLE_UNTOLD: Duration = Duration::from_secs(3);
/// The same bytes of a broadcast within this are the same broadcast.
pub const BLE_BROADCAST_SAME: Duration = Duration::from_secs(30);
/// Our part of Bluetooth is built again after a time that doubles between these.
pub const BLE_REBUILD: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Strangers remembered for `wardline devices scan`, the loudest first.
pub const BLE_STRANGERS_MAX: usize = 200;
/// A device that was not heard for so long is not listed by a scan.
pub const BLE_LISTED_MAX: Duration = Duration::from_secs(60);
/// Signals of D-Bus that wait for us: beyond it the bus holds them back.
pub const BLE_SIGNALS_WAITING_MAX: usize = 1_024;
/// Tickets on their way to one connection: more than it can have outstanding.
pub const BLE_TOLD_MAX: usize = 2 * BLE_VALUES_WAITING_MAX;
/// Messages of the connections, and orders of people, on their way to the source.
pub const BLE_MAIL_MAX: usize = 256;
/// Values of one connection that are not synced yet; beyond it they wait in the connection.
pub const BLE_IN_FLIGHT_MAX: usize = 256;
/// How long a person has to pair a device.
pub const BLE_PAIRING_WINDOW: Duration = Duration::from_secs(120);
/// A device's clock that is less wrong is left as it is: writing it can move the times of stored records.
pub const BLE_CLOCK_SLACK: Duration = Duration::from_secs(5);
/// A local name is kept this far.
pub const BLE_NAME_CHARS_MAX: usize = 64;
/// After a link is gone, how long its last values may be behind; after each, as long again.
pub const BLE_LAST_WORDS: Duration = Duration::from_millis(200);
/// All of them together: a link that bluetoothd does not end may go on telling.
pub const BLE_LAST_WORDS_MAX: Duration = Duration::from_secs(2);
/// A technician's link to the page is opened soon, or not at all.
pub const PAGE_KEY_VALID: Duration = Duration::from_secs(600);
/// What it opens ends by itself: long enough to set up a home.
pub const PAGE_TECHNICIAN_MAX: Duration = Duration::from_secs(3_600);
/// Links that wait, and browsers that opened one.
pub const PAGE_TECHNICIANS_MAX: usize = 8;
/// A recording of a device ends by itself after this, if nobody says less.
pub const CAPTURE_DEFAULT: Duration = Duration::from_secs(600);
/// And at most: a meter wakes once, a person measures twice.
pub const CAPTURE_LONGEST: Duration = Duration::from_secs(3_600);
/// Lines of a capture: more than an hour of a strap that reports each second.
pub const CAPTURE_LINES_MAX: usize = 20_000;
/// Octets of a capture: it goes by mail.
pub const CAPTURE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Octets of one line of it, when it is read.
pub const CAPTURE_LINE_BYTES_MAX: usize = 64 * 1024;
/// Names, UUIDs and reasons in one line of it.
pub const CAPTURE_FIELDS_MAX: usize = 256;
/// Lines of a recording that wait for the one who asked for it; beyond it the recording ends, the device never waits.
pub const CAPTURE_WAITING_MAX: usize = 1_024;
/// An advertisement that says the same again is written down after this.
pub const CAPTURE_SAME_HEARD: Duration = Duration::from_secs(5);
/// Frames of a capture that are looked back on for those that one needs before it.
pub const CAPTURE_BEFORE_MAX: usize = 16;
/// A replay waits so long for the last delivery to its file.
pub const REPLAY_SETTLE_MAX: Duration = Duration::from_secs(60);
/// A device's clock may be so far ahead of ours and is believed: people set clocks by eye.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// A clock that was asked and is off by less is taken at its word; by how much it is off counts as uncertainty.
pub const CLOCK_RIGHT: Duration = Duration::from_secs(60);
/// A clock is off by a zone, a forgotten change of the hour or both; by more, it began anew or was never set.
pub const CLOCK_ZONE_MAX: Duration = Duration::from_secs(26 * 3_600);
/// What a link brings at once (a stream, a broadcast) was measured no longer ago; an average and a slow radio are in it.
pub const LIVE_LAG_MAX: Duration = Duration::from_secs(15 * 60);
/// Who uploads over MQTT keeps values for a holiday or a stay in hospital, not for longer; older ones are a wrong clock.
pub const LATE_MAX: Duration = Duration::from_secs(30 * 86_400);
/// No device keeps records for longer: 400 days, a year and some.
pub const DEVICE_MEMORY_MAX: Duration = Duration::from_secs(400 * 86_400);
/// No box runs for longer without a clock that was ever set: 30 years after this build. Bounds dates where ours is not known.
pub const BOX_LIFE_MAX: Duration = Duration::from_secs(30 * 366 * 86_400);
/// A record's time may fall so far behind that of the record before: the hour that autumn repeats, and some seconds.
pub const CLOCK_FALL_MAX: Duration = Duration::from_secs(3_600 + 120);
/// A clock that fell by more, and then leaps forward again by half of that at least, was set right.
pub const CLOCK_FALL_CLEAR: Duration = Duration::from_secs(7 * 86_400);
/// Numbers that grow by more are no count of records: names, hashes, several counters.
pub const RECORD_NUMBERS_SKIPPED_MAX: u64 = 10_000;
/// A value is behind by as much as the one before, give or take this: a clock that is off, not an upload that was late.
pub const LAG_SPREAD: Duration = Duration::from_secs(90);
/// So often in a row.
pub const LAG_STEADY: u8 = 3;
/// Values that come together count once: an upload of several is one occasion.
pub const LAG_OCCASION: Duration = Duration::from_secs(60);
/// A watch crystal drifts by less than this share of the time: 100 parts in a million.
pub const CLOCK_DRIFT: u64 = 10_000;
/// Counters of records that are followed, of one device: one for each vital and user.
pub const RECORD_COUNTERS_MAX: usize = 64;
/// Readings that an export reads at once: some 200 KiB of lines.
pub const EXPORT_PAGE_READINGS: usize = 500;
/// An export takes no longer: a million readings are written in minutes.
pub const EXPORT_MAX: Duration = Duration::from_secs(1_800);
/// A line of a NATS server: its greeting is the longest.
pub const NATS_LINE_BYTES_MAX: usize = 64 * 1024;
/// A message on the bus: larger than any reading, or alert with its evidence.
pub const NATS_PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Header lines of a message that are looked at.
pub const NATS_HEADERS_MAX: usize = 32;
/// Room for our own headers within the server's limit for a message.
pub const NATS_HEADER_BYTES: usize = 512;
/// Messages that come while an answer is waited for: more than all that was ever asked for at once.
pub const NATS_EARLY_MAX: usize = 4_096;
/// Servers of one bus.
pub const NATS_SERVERS_MAX: usize = 16;
/// Readings in one write to a stream, and in flight until it has acknowledged them.
pub const NATS_BATCH_MAX: usize = 200;
/// How long thin traffic to a stream waits for company.
pub const NATS_LINGER: Duration = Duration::from_millis(50);
/// How long JetStream may think about a question.
pub const NATS_API_WAIT: Duration = Duration::from_secs(5);
/// A connection that was quiet for so long is looked at before it is used.
pub const NATS_QUIET: Duration = Duration::from_secs(30);
/// How long that look takes, where there is nothing to see.
pub const NATS_GLANCE: Duration = Duration::from_millis(2);
/// A stream's settings are looked at again after this: somebody may have changed them.
pub const NATS_LOOK_AGAIN: Duration = Duration::from_secs(300);
/// A stream must know an id again for so long: longer than any resend of an answer that was lost takes.
pub const NATS_DUPLICATES_MIN: Duration = Duration::from_secs(120);
/// And does for so long when we create it: an hour of ids takes a server 100 octets each.
pub const NATS_DUPLICATES_CREATED: Duration = Duration::from_secs(3_600);
/// A stream must keep what nobody has delivered for so long, if it does not keep it for ever.
pub const NATS_AGE_MIN: Duration = Duration::from_secs(7 * 86_400);
/// A consumer must leave a message with a relay for so long without a word about it.
pub const RELAY_HOLD_MIN: Duration = Duration::from_secs(5);
/// Messages that all relays of a consumer hold at once, when we create it.
pub const RELAY_AT_ONCE: u32 = 5_000;
/// How long a relay waits for a consumer to hand out the first message it asks for.
pub const RELAY_LEASE_WAIT: Duration = Duration::from_millis(250);
/// And for company of the first.
pub const RELAY_COMPANY: Duration = Duration::from_millis(15);
/// For how long a relay asks a consumer for messages; then it asks again.
pub const RELAY_PULL: Duration = Duration::from_secs(20);
/// A relay looks after what it holds this often.
pub const RELAY_TICK: Duration = Duration::from_millis(250);
/// A connection of a relay that is quiet for so long is asked for a sign of life, and given up after three times that.
pub const RELAY_QUIET: Duration = Duration::from_secs(5);
/// Anything that a relay writes must go out within this.
pub const RELAY_WRITE_MAX: Duration = Duration::from_secs(10);
/// A relay looks at its consumers this often: how much waits, and whether their settings still fit.
pub const RELAY_LOOK: Duration = Duration::from_secs(10);
/// What goes back to the stream because a destination is away comes again after this: another relay may reach it.
pub const RELAY_BACK: Duration = Duration::from_secs(1);
/// A message that waits for a newer relay, or for room in the stream of the refused, comes again after this.
pub const RELAY_AGAIN: Duration = Duration::from_secs(60);
/// Messages whose tries a relay remembers.
pub const RELAY_TRIES_MAX: usize = 20_000;
/// Leases and outcomes that wait for a way of a relay; the delivery loop asks for one at a time.
pub const RELAY_ORDERS_MAX: usize = 64;
/// A relay waits so long for the bus to take an outcome, then asks again.
pub const RELAY_SETTLE_WAIT: Duration = Duration::from_secs(8);
/// A relay says at least this often that it still holds what it holds.
pub const RELAY_ASSURE_MAX: Duration = Duration::from_secs(20);
/// Octets of a token server's answer, or of a SMART configuration: a token has some thousands.
pub const TOKEN_BYTES_MAX: usize = 64 * 1_024;
/// Characters of a token server's address.
pub const TOKEN_URL_CHARS_MAX: usize = 2_048;
/// How long a token server is waited for, at most: readings wait behind it.
pub const TOKEN_ANSWER_MAX: Duration = Duration::from_secs(20);
/// An assertion is good for so long; SMART allows five minutes, and clocks differ.
pub const ASSERTION_SECONDS: i64 = 180;
/// A token whose life is not said is used for so long: what SMART recommends at most.
pub const TOKEN_SECONDS_UNSAID: u64 = 300;
/// And whatever is said, no longer than this.
pub const TOKEN_SECONDS_MAX: u64 = 86_400;
/// A token is renewed so long before its end.
pub const TOKEN_SKEW: Duration = Duration::from_secs(30);
/// After a question to a token server that failed, the next one is not asked before.
pub const TOKEN_ASK_AGAIN: Duration = Duration::from_secs(2);
/// A clock that differs more from the token server's is named as a reason: an assertion has that much to spare.
pub const TOKEN_CLOCK_OFF_SECONDS: u64 = 60;
/// A new key that was not accepted is tried again after this.
pub const NEW_KEY_AGAIN: Duration = Duration::from_secs(600);
