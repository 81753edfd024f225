//! Zones, hours that occur twice or not at all, ends of epochs.

use super::*;

/// Calendars: zones, hours that occur twice or not at all, ends of epochs.
pub(super) fn rows() -> String {
    let mut page = format!("\n### Calendars\n\n{}", HEAD.replace("device's clock", "case"));
    let mut row = |case: &str, now: &str, time: DeviceTime, stored: bool, expected: Option<(&str, u32)>| {
        let now = now.parse::<Timestamp>().unwrap().as_millisecond();
        let came = if matches!(time, DeviceTime::Instant(_)) { Came::Live } else { Came::Notified };
        let reading = Bench::new(came, Ours::Right).take(Some(time), stored, now, None, false);
        page += &line(case, if stored { "memory" } else { "live" }, &reading);
        let found = reading.taken.at_ms.map(|at| Timestamp::from_millisecond(at).unwrap().to_string());
        let expected = expected.map(|(at, uncertainty)| (at.to_owned(), uncertainty));
        assert_eq!(found.map(|at| (at, reading.taken.uncertainty_ms)), expected, "{case}");
        assert_eq!(pages(&reading), !stored, "{case}");
    };
    let civil = |text: &str| DeviceTime::Civil(text.parse().unwrap());
    let iso = |text: &str| wardline::profile::iso8601(text).unwrap();
    let hour = 3_600_000;
    row(
        "the hour that autumn repeats",
        "2026-10-25T01:35:00Z",
        civil("2026-10-25T02:30:00"),
        false,
        Some(("2026-10-25T00:30:00Z", hour)),
    );
    row(
        "the same, an hour earlier",
        "2026-10-25T00:31:00Z",
        civil("2026-10-25T02:30:00"),
        false,
        Some(("2026-10-25T00:30:00Z", hour)),
    );
    row(
        "the hour that spring leaves out",
        "2026-03-29T01:31:00Z",
        civil("2026-03-29T02:30:00"),
        false,
        Some(("2026-03-29T01:30:00Z", hour)),
    );
    row(
        "a memory over the change of the hour",
        "2026-10-26T10:00:00Z",
        civil("2026-10-24T09:00:00"),
        true,
        Some(("2026-10-24T07:00:00Z", 1_000)),
    );
    row(
        "the last offset in the east",
        "2026-11-22T10:00:01Z",
        iso("2026-11-23T00:00:00+14:00"),
        false,
        Some(("2026-11-22T10:00:00Z", 1_000)),
    );
    row(
        "the last offset in the west",
        "2026-11-22T10:00:01Z",
        iso("2026-11-21T20:00:00-14:00"),
        false,
        Some(("2026-11-22T10:00:00Z", 1_000)),
    );
    row(
        "a quarter of an hour (Nepal)",
        "2026-11-22T10:00:01Z",
        iso("2026-11-22T15:45:00+05:45"),
        false,
        Some(("2026-11-22T10:00:00Z", 1_000)),
    );
    row(
        "a leap second",
        "2026-12-31T23:59:59Z",
        iso("2026-12-31T23:59:60Z"),
        false,
        Some(("2026-12-31T23:59:59Z", 1_000)),
    );
    row(
        "29 February",
        "2028-02-29T12:00:01Z",
        iso("2028-02-29T12:00:00Z"),
        false,
        Some(("2028-02-29T12:00:00Z", 1_000)),
    );
    row(
        "the end of NTP's era",
        "2036-02-07T06:28:17Z",
        iso("2036-02-07T06:28:16Z"),
        false,
        Some(("2036-02-07T06:28:16Z", 1_000)),
    );
    row(
        "the end of 32 bits",
        "2038-01-19T03:14:09Z",
        iso("2038-01-19T03:14:08Z"),
        false,
        Some(("2038-01-19T03:14:08Z", 1_000)),
    );
    row(
        "the same, overflowed to 1901",
        "2038-01-19T03:14:09Z",
        iso("1901-12-13T20:45:52Z"),
        false,
        Some(("2038-01-19T03:14:09Z", 2_592_000_000)),
    );
    row(
        "the first second of 1970",
        "2026-11-22T10:00:00Z",
        iso("1970-01-01T00:00:00Z"),
        false,
        Some(("2026-11-22T10:00:00Z", 2_592_000_000)),
    );
    row("the first second of 2000, memory", "2026-11-22T10:00:00Z", civil("2000-01-01T00:00:00"), true, None);
    row("the last second of the calendar", "2026-11-22T10:00:00Z", civil("9999-12-31T23:59:59"), true, None);
    row("the year 1, memory", "2026-11-22T10:00:00Z", civil("0001-01-01T00:00:00"), true, None);
    page
}
