//! Reading a capture that anybody may have written.
//!
//! Promises: no line, no value and no file is taken beyond its bound; the first line that is wrong is named by its number.
//! Must never: repeat what stands in the file in an error, as it may be health data.

use std::io::{BufRead, Read};

use super::{Capture, FORMAT, Head, Line};
use crate::fault::Explain;
use crate::limits::{
    CAPTURE_BYTES_MAX, CAPTURE_FIELDS_MAX, CAPTURE_LINE_BYTES_MAX, CAPTURE_LINES_MAX, CHARACTERISTIC_BYTES_MAX,
};

/// Why a file is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Name a file that is there and can be read.
    #[error("the capture cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// Record it anew, or use the version that wrote it.
    #[error("line {line} of the capture: {reason}")]
    Malformed {
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Record a shorter one.
    #[error("the capture is too large: line {line} is beyond {what}")]
    TooLarge {
        /// Which line, from 1.
        line: usize,
        /// Which bound.
        what: &'static str,
    },
}

impl Explain for CaptureError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "WL-S080",
            Self::Malformed { .. } => "WL-S081",
            Self::TooLarge { .. } => "WL-S082",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "Name a file that `wardline devices record` wrote.",
            Self::Malformed { .. } => "Record it anew with `wardline devices record`; do not change the file by hand.",
            Self::TooLarge { .. } => "Record a shorter one with `--for`.",
        }
    }
}

/// Reads a capture to its end.
pub fn read(from: impl Read) -> Result<Capture, CaptureError> {
    // One octet beyond the bound tells that there is more.
    let mut from = std::io::BufReader::new(from.take(CAPTURE_BYTES_MAX as u64 + 1));
    let (mut head, mut lines) = (None, Vec::new());
    let (mut number, mut total) = (0, 0);
    let mut text = Vec::new();
    loop {
        text.clear();
        let most = CAPTURE_LINE_BYTES_MAX as u64 + 1;
        let n = from.by_ref().take(most).read_until(b'\n', &mut text).map_err(CaptureError::Unreadable)?;
        if n == 0 {
            break;
        }
        number += 1;
        total += n;
        let too_large = |what| Err(CaptureError::TooLarge { line: number, what });
        if n > CAPTURE_LINE_BYTES_MAX {
            return too_large("64 KiB in a line");
        }
        if total > CAPTURE_BYTES_MAX {
            return too_large("4 MiB in all");
        }
        if lines.len() >= CAPTURE_LINES_MAX {
            return too_large("20,000 lines");
        }
        if head.is_none() {
            head = Some(first(&text).map_err(|reason| CaptureError::Malformed { line: number, reason })?);
        } else if !text.trim_ascii().is_empty() {
            let line = line(&text).map_err(|reason| CaptureError::Malformed { line: number, reason })?;
            if lines.last().is_some_and(|before: &Line| before.ms > line.ms) {
                return Err(CaptureError::Malformed { line: number, reason: "time goes back".into() });
            }
            lines.push(line);
        }
    }
    let empty = || CaptureError::Malformed { line: 1, reason: "there is none".into() };
    Ok(Capture { head: head.ok_or_else(empty)?, lines })
}

/// What is wrong, without the words of the file: they may be values.
fn reason(error: &serde_json::Error, what: &str) -> String {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => format!("not {what} of a capture: a key, a kind or a value that it cannot have"),
        Category::Io | Category::Syntax | Category::Eof => "no JSON".into(),
    }
}

fn first(text: &[u8]) -> Result<Head, String> {
    // A later form may have other keys: its number is looked at first.
    #[derive(serde::Deserialize)]
    struct Form {
        wardline_capture: u32,
    }
    let form: Form = serde_json::from_slice(text).map_err(|e| reason(&e, "the head"))?;
    if form.wardline_capture != FORMAT {
        return Err(format!("format {} is not known here, only {FORMAT}", form.wardline_capture));
    }
    let head: Head = serde_json::from_slice(text).map_err(|e| reason(&e, "the head"))?;
    let texts = head.profiles.iter().chain([&head.wardline, &head.started]);
    check_texts(texts)?;
    Ok(head)
}

fn line(text: &[u8]) -> Result<Line, String> {
    use super::Kind;
    let line: Line = serde_json::from_slice(text).map_err(|e| reason(&e, "a line"))?;
    let data = line.service_data.keys().chain(line.manufacturer_data.keys());
    let single = [&line.name, &line.service, &line.characteristic, &line.why].into_iter().flatten();
    check_texts(line.services.iter().chain(&line.offers).chain(&line.profiles).chain(data).chain(single))?;
    let on_characteristic =
        matches!(line.kind, Kind::Read | Kind::Notification | Kind::Indication | Kind::Subscribe | Kind::Write);
    if on_characteristic && line.characteristic.is_none() {
        return Err("it has no characteristic".into());
    }
    Ok(line)
}

/// Names, UUIDs and reasons are short, few, and without control characters.
fn check_texts<'a>(texts: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut count = 0;
    for text in texts {
        count += 1;
        if count > CAPTURE_FIELDS_MAX || text.len() > crate::limits::TEXT_CHARS_MAX {
            return Err("too many texts, or one that is too long".into());
        }
        if text.chars().any(char::is_control) {
            return Err("a control character in a text".into());
        }
    }
    Ok(())
}

/// Pairs of hex digits.
pub(super) fn octets(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 2 * (CHARACTERISTIC_BYTES_MAX + 1) || !text.is_ascii() {
        return None;
    }
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "{\"wardline_capture\":1,\"wardline\":\"0.1.0\",\"started\":\"2026-11-28T19:00\"}\n";

    fn refused(text: &str) -> String {
        let error = read(text.as_bytes()).unwrap_err();
        format!("{}: {error}", error.code())
    }

    #[test]
    fn a_line_is_written_and_read_alike() {
        let mut line =
            Line { ms: 12, characteristic: Some("2A35".into()), ..Line::new(super::super::Kind::Indication) };
        line.hex = Some(super::super::Octets(vec![0x16, 0xff]));
        let capture = read(format!("{HEAD}{}", line.to_json()).as_bytes()).unwrap();
        assert_eq!(capture.lines, [line]);
    }

    #[test]
    fn hostile_files_are_refused_by_their_line() {
        let after = |line: &str| refused(&format!("{HEAD}{line}\n"));
        for (line, code) in [
            ("{\"ms\":1,\"kind\":\"exec\"}", "WL-S081"),
            ("{\"ms\":1,\"kind\":\"heard\",\"patient\":\"x\"}", "WL-S081"),
            ("{\"ms\":-1,\"kind\":\"heard\"}", "WL-S081"),
            ("{\"ms\":1,\"kind\":\"read\",\"hex\":\"00\"}", "WL-S081"),
            ("{\"ms\":1,\"kind\":\"read\",\"characteristic\":\"2A35\",\"hex\":\"0\"}", "WL-S081"),
            ("{\"ms\":1,\"kind\":\"read\",\"characteristic\":\"2A35\",\"hex\":\"0é\"}", "WL-S081"),
            ("{\"ms\":1,\"kind\":\"heard\",\"name\":\"\\u001b[2J\"}", "WL-S081"),
            ("\u{0}", "WL-S081"),
        ] {
            let said = after(line);
            assert!(said.starts_with(code) && said.contains("line 2"), "{line}: {said}");
        }
        let back = "{\"ms\":5,\"kind\":\"heard\"}\n{\"ms\":4,\"kind\":\"heard\"}";
        assert!(after(back).contains("line 3"), "{}", after(back));
        let long = format!("{{\"ms\":1,\"kind\":\"heard\",\"name\":\"{}\"}}", "x".repeat(CAPTURE_LINE_BYTES_MAX));
        assert!(after(&long).starts_with("WL-S082") && after(&long).contains("line 2"));
        assert!(after(&"{\"ms\":1,\"kind\":\"heard\"}\n".repeat(CAPTURE_LINES_MAX + 1)).starts_with("WL-S082"));
        assert!(after(&"\n".repeat(CAPTURE_BYTES_MAX)).starts_with("WL-S082"));
        assert!(after(&"[".repeat(60_000)).starts_with("WL-S081"));
        let octets = "00".repeat(CHARACTERISTIC_BYTES_MAX + 2);
        let line = format!("{{\"ms\":1,\"kind\":\"read\",\"characteristic\":\"2A35\",\"hex\":\"{octets}\"}}");
        assert!(after(&line).contains("line 2"));
    }

    #[test]
    fn what_is_no_capture_is_said_without_its_words() {
        for text in ["", "hello", "{}", "{\"wardline_capture\":1}", "null", "[\"Patient/8f2c\"]"] {
            let said = refused(text);
            assert!(said.starts_with("WL-S081: line 1") && !said.contains("8f2c"), "{text}: {said}");
        }
        assert!(refused(&HEAD.replace(":1,", ":2,")).contains("format 2"));
    }
}
