//! Segments, fields and components, with every delimiter and control character of a value escaped.
//!
//! Must never: let what a device or a person wrote end a field, a segment or a frame.

use std::fmt::Write as _;

/// A segment in the making: fields by their HL7 number, from 1.
pub(super) struct Segment {
    name: &'static str,
    fields: Vec<String>,
}

impl Segment {
    pub fn new(name: &'static str) -> Self {
        Self { name, fields: Vec::new() }
    }

    /// Sets a field whose text is escaped already. An empty one is left out.
    pub fn set(mut self, number: usize, text: impl Into<String>) -> Self {
        let at = number.saturating_sub(1);
        if self.fields.len() <= at {
            self.fields.resize(at + 1, String::new());
        }
        if let Some(field) = self.fields.get_mut(at) {
            *field = text.into();
        }
        self
    }

    /// Appends the segment with its end. Of `MSH` and `BHS`, the first field is the separator itself.
    pub fn end(self, out: &mut String) {
        out.push_str(self.name);
        let skipped = usize::from(matches!(self.name, "MSH" | "BHS"));
        let used = self.fields.iter().rposition(|f| !f.is_empty()).map_or(0, |last| last + 1);
        for field in self.fields.iter().take(used).skip(skipped) {
            out.push('|');
            out.push_str(field);
        }
        out.push('\r');
    }
}

/// A value as it may stand in a field.
pub(super) fn text(value: &str) -> String {
    escaped(value, |out, c| {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\X{:02X}\\", u32::from(c));
    })
}

/// The same for formatted text (FT), in which a line's end has a form of its own.
pub(super) fn formatted(value: &str) -> String {
    escaped(&value.replace("\r\n", "\n"), |out, _| out.push_str("\\.br\\"))
}

fn escaped(value: &str, line_end: impl Fn(&mut String, char)) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    for c in value.chars() {
        match c {
            '|' => out.push_str("\\F\\"),
            '^' => out.push_str("\\S\\"),
            '&' => out.push_str("\\T\\"),
            '~' => out.push_str("\\R\\"),
            '\\' => out.push_str("\\E\\"),
            '\r' | '\n' => line_end(&mut out, c),
            // Among them the characters that begin and end a frame.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Components of a field, each escaped; empty ones at the end are left out.
pub(super) fn components(parts: &[&str]) -> String {
    joined(parts.iter().map(|p| text(p)))
}

/// What a configuration says with its own `^` between components.
pub(super) fn composite(raw: &str) -> String {
    joined(raw.split('^').map(text))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    let used = parts.iter().rposition(|p| !p.is_empty()).map_or(0, |last| last + 1);
    parts.get(..used).unwrap_or_default().join("^")
}

/// Milliseconds since 1970 as `YYYYMMDDHHMMSS[.SSS]+0000`, with milliseconds only where they are known.
pub(super) fn date_time(at_ms: i64, milliseconds: bool) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let t = jiff::tz::Offset::UTC.to_datetime(at);
    let mut out =
        format!("{:04}{:02}{:02}{:02}{:02}{:02}", t.year(), t.month(), t.day(), t.hour(), t.minute(), t.second());
    if milliseconds {
        let _ = write!(out, ".{:03}", t.millisecond());
    }
    out.push_str("+0000");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delimiter_and_control_character_is_escaped() {
        assert_eq!(text(r"a|b^c&d~e\f"), r"a\F\b\S\c\T\d\R\e\E\f");
        assert_eq!(text("one\r\ntwo\u{b}\u{1c}\u{7f}\u{85}."), r"one\X0D\\X0A\two    .");
        assert_eq!(formatted("one\r\ntwo\nthree|"), r"one\.br\two\.br\three\F\");
        assert_eq!(text("Grüße"), "Grüße");
    }

    #[test]
    fn what_is_empty_at_the_end_is_left_out() {
        let mut out = String::new();
        Segment::new("PID").set(3, components(&["a^b", "", "X", ""])).set(9, "").end(&mut out);
        Segment::new("MSH").set(2, "^~\\&").set(4, "F").end(&mut out);
        assert_eq!(out, "PID|||a\\S\\b^^X\rMSH|^~\\&||F\r");
        assert_eq!(composite("IHE^x|y^^"), "IHE^x\\F\\y");
    }

    #[test]
    fn times_have_an_offset_and_the_digits_that_are_known() {
        assert_eq!(date_time(1_795_342_271_250, true), "20261122101111.250+0000");
        assert_eq!(date_time(1_795_342_271_250, false), "20261122101111+0000");
    }
}
