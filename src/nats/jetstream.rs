//! What JetStream is asked: streams, consumers, acknowledged publishes, pulls, acknowledgements.
//!
//! Promises: a publish counts as taken only by the stream's own word with its number.
//! Must never: hold what the server says in its own words.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::NatsError;
use super::link::Link;
use super::wire;
use crate::limits;

pub use wire::Message;

/// Settings of a stream that matter to us; times are nanoseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// What it takes.
    pub subjects: Vec<String>,
    /// `limits`, `interest`, `workqueue`.
    pub retention: String,
    /// `old`, `new`: what goes when it is full.
    pub discard: String,
    /// `file`, `memory`.
    pub storage: String,
    /// −1: no bound.
    pub max_msgs: i64,
    /// −1: no bound.
    pub max_bytes: i64,
    /// −1: no bound.
    pub max_msgs_per_subject: i64,
    /// 0: for ever.
    pub max_age: u64,
    /// How long it knows an id again.
    pub duplicate_window: u64,
    /// It answers no publish.
    pub no_ack: bool,
}

impl Default for Stream {
    fn default() -> Self {
        let text = String::new;
        Self {
            subjects: Vec::new(),
            retention: text(),
            discard: text(),
            storage: text(),
            max_msgs: -1,
            max_bytes: -1,
            max_msgs_per_subject: -1,
            max_age: 0,
            duplicate_window: 0,
            no_ack: false,
        }
    }
}

/// Settings of a consumer that matter to us.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Consumer {
    /// `explicit`, `none`, `all`.
    pub ack_policy: String,
    /// How long a message may be held, nanoseconds.
    pub ack_wait: u64,
    /// −1: as often as needed.
    pub max_deliver: i64,
    /// Messages that all of us hold at once.
    pub max_ack_pending: i64,
    /// What it hands out of the stream.
    pub filter_subject: String,
    /// `all`, `new`, …
    pub deliver_policy: String,
    /// Not empty: it pushes.
    pub deliver_subject: String,
}

/// How a consumer is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConsumerState {
    /// Its settings.
    pub config: Consumer,
    /// All up to here are acknowledged.
    pub ack_floor: Place,
    /// Not handed out yet.
    pub num_pending: u64,
    /// Handed out and not acknowledged.
    pub num_ack_pending: u64,
    /// Of those, handed out again.
    pub num_redelivered: u64,
}

/// A place in a stream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Place {
    /// Number in the stream.
    pub stream_seq: u64,
}

impl ConsumerState {
    /// Everything that it hands out and that is before `seq` in the stream is acknowledged.
    pub fn is_past(&self, seq: u64) -> bool {
        self.ack_floor.stream_seq >= seq || (self.num_pending == 0 && self.num_ack_pending == 0)
    }
}

/// One call of the API.
async fn call(link: &mut Link, what: &str, body: &Value) -> Result<Value, NatsError> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let answer = link.request(&format!("$JS.API.{what}"), &body, limits::NATS_API_WAIT).await?;
    let answer: Value = serde_json::from_slice(&answer.payload).map_err(|_| NatsError::Unclear("it is not JSON"))?;
    match answer.get("error") {
        Some(error) => Err(refused(error)),
        None => Ok(answer),
    }
}

/// An error's number says it; its text is the server's own.
fn refused(error: &Value) -> NatsError {
    let number = error["err_code"].as_u64().unwrap_or_default();
    match number {
        10_014 => NatsError::Shape { code: "WL-N010", what: "there is no such consumer".into() },
        10_039 | 10_076 => NatsError::NoStream("JetStream is not switched on for this account".into()),
        10_059 => NatsError::NoStream("there is no such stream".into()),
        10_060 => NatsError::Shape { code: "WL-N005", what: "another stream takes our subjects".into() },
        // Bytes, messages, messages of a subject, the account's share, the server's disk.
        10_023 | 10_028 | 10_047 | 10_077 | 10_122 => NatsError::Full,
        10_054 | 10_097 => NatsError::TooLarge,
        10_065 => NatsError::Shape { code: "WL-N005", what: "another stream has these subjects".into() },
        other => NatsError::Fails(other),
    }
}

fn field<T: for<'a> Deserialize<'a> + Default>(answer: &Value, name: &str) -> Result<T, NatsError> {
    let value = answer.get(name).cloned().unwrap_or(Value::Null);
    serde_json::from_value(value).map_err(|_| NatsError::Unclear("its settings are not as we know them"))
}

/// A stream's settings.
///
/// # Errors
/// When there is none, or no answer.
pub async fn stream(link: &mut Link, name: &str) -> Result<Stream, NatsError> {
    field(&call(link, &format!("STREAM.INFO.{name}"), &Value::Null).await?, "config")
}

/// Creates a stream as docs/nats.md has it: on disk, refusing rather than dropping.
///
/// # Errors
/// When the server refuses it.
pub async fn create_stream(link: &mut Link, name: &str, subjects: &[String], retention: &str) -> Result<(), NatsError> {
    let body = json!({
        "name": name, "subjects": subjects, "retention": retention, "storage": "file", "discard": "new",
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1,
        "max_msg_size": limits::NATS_PAYLOAD_BYTES_MAX,
        "num_replicas": 1, "duplicate_window": nanos(limits::NATS_DUPLICATES_CREATED),
    });
    call(link, &format!("STREAM.CREATE.{name}"), &body).await.map(|_| ())
}

/// How a consumer is.
///
/// # Errors
/// When there is none, or no answer.
pub async fn consumer(link: &mut Link, stream: &str, name: &str) -> Result<ConsumerState, NatsError> {
    let answer = call(link, &format!("CONSUMER.INFO.{stream}.{name}"), &Value::Null).await?;
    serde_json::from_value(answer).map_err(|_| NatsError::Unclear("its settings are not as we know them"))
}

/// Creates a durable pull consumer.
///
/// # Errors
/// When the server refuses it.
pub async fn create_consumer(
    link: &mut Link,
    stream: &str,
    name: &str,
    filter: &str,
    (ack_wait, at_once): (Duration, u32),
) -> Result<(), NatsError> {
    let config = json!({
        "durable_name": name, "filter_subject": filter, "deliver_policy": "all", "ack_policy": "explicit",
        "ack_wait": nanos(ack_wait), "max_deliver": -1, "max_ack_pending": at_once, "replay_policy": "instant",
    });
    let body = json!({ "stream_name": stream, "config": config });
    call(link, &format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), &body).await.map(|_| ())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A message to publish.
pub struct Outgoing {
    /// Where to.
    pub subject: String,
    /// The same for every try: a stream knows it again.
    pub id: String,
    /// Its body.
    pub payload: Bytes,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
}

/// A stream's word that it has a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Taken {
    /// The stream.
    #[serde(default)]
    pub stream: String,
    /// The message's number in it.
    #[serde(default)]
    pub seq: u64,
    /// It had one with this id already.
    #[serde(default)]
    pub duplicate: bool,
}

/// Publishes a batch into `stream` and waits for its word about each. The second: why the connection is of no more use.
pub async fn publish(
    link: &mut Link,
    stream: &str,
    batch: &[Outgoing],
    wait: Duration,
) -> (Vec<Option<Result<Taken, NatsError>>>, Option<NatsError>) {
    let mut answers: Vec<Option<Result<Taken, NatsError>>> = vec![None; batch.len()];
    let mut replies = std::collections::HashMap::with_capacity(batch.len());
    for (n, (message, answer)) in batch.iter().zip(&mut answers).enumerate() {
        if !has_room(link, &message.payload) {
            *answer = Some(Err(NatsError::TooLarge));
            continue;
        }
        let reply = link.reply_subject();
        let mut headers = vec![("Nats-Msg-Id", message.id.as_str()), ("Nats-Expected-Stream", stream)];
        headers.extend(message.headers.iter().map(|(name, value)| (*name, value.as_str())));
        link.publish(&message.subject, Some(&reply), &headers, &message.payload);
        replies.insert(reply, n);
    }
    let until = Instant::now() + wait;
    let exchange = async {
        link.flush().await?;
        while !replies.is_empty() {
            let message = link.fresh().await?;
            match replies.remove(&message.subject).and_then(|n: usize| answers.get_mut(n)) {
                Some(slot) => *slot = Some(taken(&message, stream)),
                None => link.keep(message)?,
            }
        }
        Ok(())
    };
    let over = match timeout_at(until, exchange).await {
        Ok(Ok(())) => None,
        Ok(Err(e)) => Some(e),
        Err(_) => Some(NatsError::NoAnswer("the stream does not acknowledge in time")),
    };
    (answers, over)
}

/// Whether a message with this body, and our headers, goes through.
pub fn has_room(link: &Link, payload: &[u8]) -> bool {
    payload.len() + limits::NATS_HEADER_BYTES <= link.max_payload
}

fn taken(message: &Message, stream: &str) -> Result<Taken, NatsError> {
    if message.status == Some(503) {
        return Err(NatsError::NoStream("no stream takes our subjects".into()));
    }
    let answer: Value = serde_json::from_slice(&message.payload).map_err(|_| NatsError::Unclear("it is not JSON"))?;
    if let Some(error) = answer.get("error") {
        return Err(refused(error));
    }
    let taken: Taken = serde_json::from_value(answer).map_err(|_| NatsError::Unclear("it is no acknowledgement"))?;
    // Anybody may answer in a stream's place; a word without its name and a number is none.
    if taken.stream == stream && taken.seq > 0 { Ok(taken) } else { Err(NatsError::Unclear("another stream answers")) }
}

/// Asks a consumer for up to `max` messages within `expires`; they come to `inbox`.
pub fn pull(link: &mut Link, stream: &str, consumer: &str, inbox: &str, (max, expires): (usize, Duration)) {
    #[derive(Serialize)]
    struct Pull {
        batch: usize,
        expires: u64,
    }
    let body = serde_json::to_vec(&Pull { batch: max, expires: nanos(expires) }).unwrap_or_default();
    link.publish(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), Some(inbox), &[], &body);
}

/// Where a message stands, from the subject that its acknowledgement goes to: how often it was handed out, its number.
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, with two words more in newer servers.
pub fn place(message: &Message) -> Option<(u64, u64)> {
    let words: Vec<&str> = message.reply.as_deref()?.strip_prefix("$JS.ACK.")?.split('.').collect();
    let at = if words.len() >= 9 { 2 } else { 0 };
    let number = |n: usize| words.get(at + n)?.parse().ok();
    Some((number(2)?, number(3)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Message {
        Message { payload: Bytes::from(text.to_owned()), ..Message::default() }
    }

    #[test]
    fn only_the_streams_own_word_counts() {
        let ok = taken(&answer(r#"{"stream":"S","seq":7}"#), "S").unwrap();
        assert_eq!((ok.seq, ok.duplicate), (7, false));
        assert!(taken(&answer(r#"{"stream":"S","seq":7,"duplicate":true}"#), "S").unwrap().duplicate);
        for no in [r#"{"stream":"T","seq":7}"#, r#"{"stream":"S","seq":0}"#, "{}", "[]", "", "null", r#"{"seq":7}"#] {
            assert!(taken(&answer(no), "S").is_err(), "{no}");
        }
        let full =
            r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0}"#;
        assert_eq!(taken(&answer(full), "S"), Err(NatsError::Full));
        assert!(matches!(taken(&Message { status: Some(503), ..answer("") }, "S"), Err(NatsError::NoStream(_))));
    }

    #[test]
    fn a_messages_place_is_read_from_both_forms() {
        let of = |reply: &str| place(&Message { reply: Some(reply.into()), ..Message::default() });
        assert_eq!(of("$JS.ACK.S.C.2.31.9.1700000000.0"), Some((2, 31)));
        assert_eq!(of("$JS.ACK.hub.acc.S.C.2.31.9.1700000000.0"), Some((2, 31)));
        assert_eq!((of("$JS.ACK.S.C.x.31.9.1.0"), of("_INBOX.a"), of("$JS.ACK")), (None, None, None));
    }

    #[test]
    fn a_consumer_is_past_a_place_when_nothing_before_it_is_open() {
        let state = |floor, pending, held| ConsumerState {
            ack_floor: Place { stream_seq: floor },
            num_pending: pending,
            num_ack_pending: held,
            ..ConsumerState::default()
        };
        assert!(state(10, 5, 5).is_past(10) && state(3, 0, 0).is_past(10));
        assert!(!state(9, 0, 1).is_past(10) && !state(9, 1, 0).is_past(10));
    }
}
