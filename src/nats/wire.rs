//! The lines of the NATS protocol: bytes in, [`Op`]s out, and back. Pure.
//!
//! Must never: take a line or a payload longer than its bound into memory, or believe a length that no server lets pass.

use bytes::{Buf, Bytes, BytesMut};

use super::NatsError;
use crate::limits;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// About itself, as JSON.
    Info(Bytes),
    /// A message of one of our subscriptions.
    Message(Message),
    /// One that is larger than any of ours, without its body: so many octets follow, and a line's end.
    Oversize(Message, usize),
    Ping,
    Pong,
    Ok,
    /// Why it refuses something; most end the connection.
    Err(String),
}

/// A message as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where it was sent to.
    pub subject: String,
    /// Where an answer goes.
    pub reply: Option<String>,
    /// `503` of a status line; JetStream speaks so.
    pub status: Option<u16>,
    /// Its header lines.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub payload: Bytes,
    /// Larger than any of ours: so many octets, which were passed over.
    pub oversize: Option<usize>,
}

/// No server lets a larger one through, whatever it is configured to.
const ANYBODYS_MAX: usize = 64 * 1024 * 1024;

impl Message {
    /// A header, by its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// The next whole op at the front of `bytes`, which is taken away. `None`: more must come.
pub(super) fn take(bytes: &mut BytesMut) -> Result<Option<Op>, NatsError> {
    let Some(end) = find(bytes, b"\r\n") else {
        return if bytes.len() > limits::NATS_LINE_BYTES_MAX {
            Err(NatsError::Unclear("a line does not end"))
        } else {
            Ok(None)
        };
    };
    let line =
        bytes.get(..end).and_then(|l| std::str::from_utf8(l).ok()).ok_or(NatsError::Unclear("a line is no text"))?;
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    match verb.to_ascii_uppercase().as_str() {
        "MSG" => message(bytes, end, false),
        "HMSG" => message(bytes, end, true),
        other => {
            let op = match other {
                "INFO" => Op::Info(Bytes::copy_from_slice(rest.trim().as_bytes())),
                "PING" => Op::Ping,
                "PONG" => Op::Pong,
                "+OK" => Op::Ok,
                "-ERR" => Op::Err(rest.trim().trim_matches('\'').to_owned()),
                _ => return Err(NatsError::Unclear("it does not speak NATS")),
            };
            bytes.advance(end + 2);
            Ok(Some(op))
        }
    }
}

/// `MSG subject sid [reply] size`, `HMSG subject sid [reply] size-of-headers size`.
fn message(bytes: &mut BytesMut, end: usize, headed: bool) -> Result<Option<Op>, NatsError> {
    let line = bytes.get(..end).and_then(|l| std::str::from_utf8(l).ok()).unwrap_or_default();
    let mut words: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
    let size = |word: Option<&str>| {
        word.and_then(|w| w.parse::<usize>().ok()).ok_or(NatsError::Unclear("a size is no number"))
    };
    let total = size(words.pop())?;
    let head = if headed { size(words.pop())? } else { 0 };
    if total > ANYBODYS_MAX || head > total {
        return Err(NatsError::Unclear("a message is larger than any can be"));
    }
    let (subject, reply) = match words.as_slice() {
        [subject, _sid] => ((*subject).to_owned(), None),
        [subject, _sid, reply] => ((*subject).to_owned(), Some((*reply).to_owned())),
        _ => return Err(NatsError::Unclear("a message without a subject")),
    };
    if total > limits::NATS_PAYLOAD_BYTES_MAX {
        bytes.advance(end + 2);
        let message = Message { subject, reply, oversize: Some(total), ..Message::default() };
        return Ok(Some(Op::Oversize(message, total)));
    }
    if bytes.len() < end + 2 + total + 2 {
        return Ok(None);
    }
    bytes.advance(end + 2);
    let mut body = bytes.split_to(total).freeze();
    ended(bytes)?;
    let (status, headers) = headers(&body.split_to(head));
    Ok(Some(Op::Message(Message { subject, reply, status, headers, payload: body, oversize: None })))
}

/// The line's end behind a body.
fn ended(bytes: &mut BytesMut) -> Result<(), NatsError> {
    if !bytes.starts_with(b"\r\n") {
        return Err(NatsError::Unclear("a message is longer than it says"));
    }
    bytes.advance(2);
    Ok(())
}

/// Takes what there is of a body away, of which `left` octets are to come. Whether it and its line's end are gone.
pub(super) fn pass_over(bytes: &mut BytesMut, left: &mut usize) -> Result<bool, NatsError> {
    let here = bytes.len().min(*left);
    bytes.advance(here);
    *left -= here;
    if *left > 0 || bytes.len() < 2 {
        return Ok(false);
    }
    ended(bytes).map(|()| true)
}

fn headers(bytes: &[u8]) -> (Option<u16>, Vec<(String, String)>) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|l| l.strip_prefix("NATS/1.0")?.split_whitespace().next()?.parse().ok());
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    (status, lines.filter_map(pair).take(limits::NATS_HEADERS_MAX).collect())
}

/// Writes a publish. Subjects and headers are ours: no blanks and line ends in them.
pub(super) fn publish(
    out: &mut BytesMut,
    subject: &str,
    reply: Option<&str>,
    headers: &[(&str, &str)],
    payload: &[u8],
) {
    let reply = reply.map_or(String::new(), |r| format!("{r} "));
    if headers.is_empty() {
        out.extend_from_slice(format!("PUB {subject} {reply}{}\r\n", payload.len()).as_bytes());
    } else {
        let mut head = String::from("NATS/1.0\r\n");
        for (name, value) in headers {
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let line = format!("HPUB {subject} {reply}{} {}\r\n{head}", head.len(), head.len() + payload.len());
        out.extend_from_slice(line.as_bytes());
    }
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Result<Vec<Op>, NatsError> {
        let mut bytes = BytesMut::from(text);
        let mut found = Vec::new();
        while let Some(op) = take(&mut bytes)? {
            found.push(op);
        }
        Ok(found)
    }

    #[test]
    fn what_a_server_says_is_read_wherever_it_is_cut() {
        let text = b"INFO {\"a\":1}\r\nPING\r\nMSG a.b 1 5\r\nhello\r\nHMSG a.b 1 x.y 25 27\r\nNATS/1.0 404\r\nA-B: c d\r\n\r\nhi\r\n+OK\r\n-ERR 'No'\r\n";
        // The sizes are those of the bytes.
        let head = "NATS/1.0 404\r\nA-B: c d\r\n\r\n".len();
        let text = String::from_utf8(text.to_vec()).unwrap().replace("25 27", &format!("{head} {}", head + 2));
        let whole = all(text.as_bytes()).unwrap();
        assert_eq!(whole.len(), 6);
        let Op::Message(message) = &whole[3] else { panic!("{whole:?}") };
        assert_eq!((message.status, message.header("a-b"), &message.payload[..]), (Some(404), Some("c d"), &b"hi"[..]));
        assert_eq!(message.reply.as_deref(), Some("x.y"));
        assert_eq!(whole[5], Op::Err("No".into()));
        for cut in 0..text.len() {
            let mut bytes = BytesMut::new();
            let mut found = Vec::new();
            for part in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                bytes.extend_from_slice(part);
                while let Some(op) = take(&mut bytes).unwrap() {
                    found.push(op);
                }
            }
            assert_eq!(found, whole, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_nats_is_refused_and_no_length_is_believed() {
        for bad in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"MSG a 1 x\r\n",
            b"MSG a 1 99999999999\r\n",
            b"MSG 5\r\n",
            b"HMSG a 1 9 5\r\nhello\r\n",
            b"MSG a 1 2\r\nhello\r\n",
            b"\xff\xfe\r\n",
        ] {
            assert!(all(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert!(all(&vec![b'a'; limits::NATS_LINE_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn what_is_larger_than_any_of_ours_is_passed_over_wherever_it_is_cut() {
        let size = limits::NATS_PAYLOAD_BYTES_MAX + 1;
        for part in [1, 3, 4_000_000, size + 1] {
            let mut bytes = BytesMut::from(format!("HMSG a.b 1 x.y 12 {size}\r\n").as_bytes());
            let Some(Op::Oversize(message, mut left)) = take(&mut bytes).unwrap() else { panic!() };
            assert_eq!((message.oversize, message.reply.as_deref(), left), (Some(size), Some("x.y"), size));
            for length in [part, size] {
                bytes.extend_from_slice(&vec![b'x'; length.min(left)]);
                assert!(!pass_over(&mut bytes, &mut left).unwrap() && bytes.is_empty());
            }
            bytes.extend_from_slice(b"\r");
            assert!(!pass_over(&mut bytes, &mut left).unwrap());
            bytes.extend_from_slice(b"\nPING\r\n");
            assert!(pass_over(&mut bytes, &mut left).unwrap());
            assert_eq!(take(&mut bytes).unwrap(), Some(Op::Ping));
        }
        let mut longer = BytesMut::from(&b"xxPING"[..]);
        assert!(pass_over(&mut longer, &mut 1).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), verb in 0_usize..4) {
            let mut bytes = BytesMut::from(["MSG a 1 ", "HMSG a 1 5 ", "INFO ", ""][verb].as_bytes());
            bytes.extend_from_slice(&noise);
            for _ in 0..100 {
                if !matches!(take(&mut bytes), Ok(Some(_))) {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_publish_is_read_back_and_no_header_breaks_its_line() {
        let mut out = BytesMut::new();
        publish(&mut out, "a.b", Some("r"), &[("Nats-Msg-Id", "x\r\ny")], b"body");
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert_eq!(text, "HPUB a.b r 29 33\r\nNATS/1.0\r\nNats-Msg-Id: xy\r\n\r\nbody\r\n");
        let mut out = BytesMut::new();
        publish(&mut out, "a.b", None, &[], b"body");
        assert_eq!(&out[..], b"PUB a.b 4\r\nbody\r\n");
    }
}
