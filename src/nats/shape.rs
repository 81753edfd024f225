//! What a stream and its consumers must be, so that nothing that a gateway was told is taken can get lost. Pure.
//!
//! Must never: let a stream pass that drops what nobody has delivered, or forgets it with its process.

use std::time::Duration;

use super::NatsError;
use super::jetstream::{Consumer, Stream};
use crate::limits;

/// Checks a stream against the subjects that it must take.
///
/// # Errors
/// The first thing that is wrong, with what it would have to be.
pub fn stream(stream: &Stream, subjects: &[String]) -> Result<(), NatsError> {
    let wrong = |code, what: String| Err(NatsError::Shape { code, what });
    if let Some(missing) = subjects.iter().find(|s| !stream.subjects.iter().any(|have| covers(have, s))) {
        return wrong("WL-N005", format!("the stream does not take `{missing}`"));
    }
    if stream.storage != "file" {
        return wrong("WL-N007", format!("the stream is kept in {}: set `storage` to `file`", word(&stream.storage)));
    }
    if stream.no_ack {
        return wrong("WL-N006", "the stream acknowledges nothing: set `no_ack` to false".into());
    }
    if stream.retention == "interest" {
        let what = "the stream keeps nothing while there is no consumer: set `retention` to `workqueue` or `limits`";
        return wrong("WL-N006", what.into());
    }
    if stream.max_msgs_per_subject > 0 {
        return wrong("WL-N006", "the stream drops old messages of a subject: set `max_msgs_per_subject` to -1".into());
    }
    if stream.discard != "new" && (stream.max_msgs > 0 || stream.max_bytes > 0) {
        return wrong("WL-N006", "the stream drops old messages when it is full: set `discard` to `new`".into());
    }
    let age = Duration::from_nanos(stream.max_age);
    if !age.is_zero() && age < limits::NATS_AGE_MIN {
        let days = limits::NATS_AGE_MIN.as_secs() / 86_400;
        return wrong(
            "WL-N006",
            format!("the stream drops messages after {}: set `max_age` to 0, or to {days} days or more", span(age)),
        );
    }
    let window = Duration::from_nanos(stream.duplicate_window);
    if window < limits::NATS_DUPLICATES_MIN {
        let what = format!(
            "the stream knows a message again for {} only: set `duplicate_window` to {} or more",
            span(window),
            span(limits::NATS_DUPLICATES_MIN)
        );
        return wrong("WL-N008", what);
    }
    Ok(())
}

/// Checks a consumer: `filter` is what it must hand out, `held` how long a relay may hold a message, `at_once` how many
/// all relays may hold together, if that matters.
///
/// # Errors
/// The first thing that is wrong, with what it would have to be.
pub fn consumer(consumer: &Consumer, filter: &str, held: Duration, at_once: Option<u32>) -> Result<(), NatsError> {
    let wait = Duration::from_nanos(consumer.ack_wait);
    let what = if !consumer.deliver_subject.is_empty() {
        "it pushes: make it a pull consumer".into()
    } else if consumer.ack_policy != "explicit" {
        "set `ack_policy` to `explicit`".into()
    } else if consumer.filter_subject != filter {
        format!("set `filter_subject` to `{filter}`")
    } else if consumer.max_deliver > 0 {
        "it gives a message up after some tries: set `max_deliver` to -1".into()
    } else if consumer.deliver_policy != "all" {
        "it leaves out what was there before it: set `deliver_policy` to `all`".into()
    } else if wait < held {
        format!("it takes messages back after {}: set `ack_wait` to {} or more", span(wait), span(held))
    } else if at_once.is_some_and(|n| consumer.max_ack_pending != i64::from(n)) {
        format!("set `max_ack_pending` to {}", at_once.unwrap_or_default())
    } else {
        return Ok(());
    };
    Err(NatsError::Shape { code: "WL-N010", what: format!("the consumer of `{filter}` does not fit: {what}") })
}

/// Whether everything that `subject` stands for is among what `pattern` stands for. Either may hold `*` and end in `>`.
fn covers(pattern: &str, subject: &str) -> bool {
    let (mut have, mut want) = (pattern.split('.'), subject.split('.'));
    loop {
        match (have.next(), want.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(w)) if w != ">" => {}
            (Some(h), Some(w)) if h == w && w != "*" => {}
            _ => return false,
        }
    }
}

fn word(text: &str) -> &str {
    if text == "memory" { "memory" } else { "another way than in files" }
}

fn span(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Stream {
        Stream {
            subjects: vec!["wardline.>".into()],
            retention: "workqueue".into(),
            discard: "new".into(),
            storage: "file".into(),
            max_bytes: 1 << 30,
            duplicate_window: 120_000_000_000,
            ..Stream::default()
        }
    }

    fn code(change: impl FnOnce(&mut Stream)) -> Option<String> {
        let mut one = good();
        change(&mut one);
        let subjects = ["wardline.box-1.readings".to_owned(), "wardline.box-1.alerts".to_owned()];
        match stream(&one, &subjects) {
            Ok(()) => None,
            Err(NatsError::Shape { code, .. }) => Some(code.into()),
            Err(e) => Some(e.to_string()),
        }
    }

    #[test]
    fn each_way_of_losing_is_named() {
        assert_eq!(code(|_| {}), None);
        assert_eq!(code(|s| (s.retention, s.discard, s.max_bytes) = ("limits".into(), "old".into(), -1)), None);
        assert_eq!(code(|s| s.max_age = 30 * 86_400_000_000_000), None);
        type Change = fn(&mut Stream);
        let cases: [(&str, Change); 9] = [
            ("WL-N005", |s| s.subjects = vec!["other.>".into()]),
            ("WL-N005", |s| s.subjects = vec!["wardline.*.readings".into()]),
            ("WL-N006", |s| s.retention = "interest".into()),
            ("WL-N006", |s| s.discard = "old".into()),
            ("WL-N006", |s| s.max_age = 3_600_000_000_000),
            ("WL-N006", |s| s.max_msgs_per_subject = 1),
            ("WL-N006", |s| s.no_ack = true),
            ("WL-N007", |s| s.storage = "memory".into()),
            ("WL-N008", |s| s.duplicate_window = 1_000_000_000),
        ];
        for (expected, change) in cases {
            assert_eq!(code(change).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_pattern_covers_what_it_stands_for() {
        for (pattern, subject) in
            [("a.>", "a.b.c"), ("a.*.c", "a.b.c"), ("a.*.c", "a.*.c"), (">", "a"), ("a.b", "a.b"), ("a.>", "a.*.c")]
        {
            assert!(covers(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in
            [("a.>", "a"), ("a.*", "a.b.c"), ("a.b", "a.*"), ("a.*", "a.>"), ("a.b.c", "a.b"), ("a", "b")]
        {
            assert!(!covers(pattern, subject), "{pattern} {subject}");
        }
    }

    #[test]
    fn each_way_in_which_a_consumer_does_not_fit_is_named() {
        let good = Consumer {
            ack_policy: "explicit".into(),
            ack_wait: 90_000_000_000,
            max_deliver: -1,
            max_ack_pending: 1,
            filter_subject: "w.*.readings".into(),
            deliver_policy: "all".into(),
            deliver_subject: String::new(),
        };
        let judge = |c: &Consumer| consumer(c, "w.*.readings", Duration::from_secs(60), Some(1));
        assert_eq!(judge(&good), Ok(()));
        type Change = fn(&mut Consumer);
        let cases: [(&str, Change); 7] = [
            ("pull", |c| c.deliver_subject = "x".into()),
            ("explicit", |c| c.ack_policy = "none".into()),
            ("filter_subject", |c| c.filter_subject = "w.>".into()),
            ("max_deliver", |c| c.max_deliver = 5),
            ("deliver_policy", |c| c.deliver_policy = "new".into()),
            ("ack_wait", |c| c.ack_wait = 1_000_000_000),
            ("max_ack_pending", |c| c.max_ack_pending = 1_000),
        ];
        for (word, change) in cases {
            let mut one = good.clone();
            change(&mut one);
            assert!(judge(&one).unwrap_err().to_string().contains(word), "{word}");
        }
    }
}
