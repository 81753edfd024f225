//! Values, times and tables for people: fits 80 columns, in UTC, with units.

use std::fmt::Write as _;

use crate::alarm::{Alert, Priority};
use crate::clock::Stamp;
use crate::reading::{Part, Reading, Value};

/// A terminal that says nothing else.
const WIDTH: usize = 80;

/// Columns of text, as wide as their widest cell; the last one is cut where the line would not fit.
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// With these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self(vec![headings.iter().map(|h| h.to_uppercase()).collect()])
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    /// The table, or one sentence when it has no rows.
    pub fn render(&self, when_empty: &str) -> String {
        if self.0.len() < 2 {
            return format!("{when_empty}\n");
        }
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.0.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.0 {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            text.push_str(&cut(line.trim_end(), WIDTH));
            text.push('\n');
        }
        text
    }
}

/// At most so many characters; what is missing is marked.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

/// `2026-11-22 18:10:23Z`.
pub fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => "?".into(),
    }
}

/// `11-22 18:10Z`: for tables.
pub fn minute(ms: i64) -> String {
    time(ms).get(5..16).map_or_else(|| "?".into(), |text| format!("{text}Z"))
}

/// `45 s`, `12 min`, `3 h`, `9 d`: an age, roughly.
pub fn age(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long ago this was.
pub fn ago(ms: i64, now: Stamp) -> String {
    age(now.wall_ms.saturating_sub(ms).max(0) / 1_000)
}

/// `128/82 mmHg`, `97 %`, `- mmHg`: a reading's numbers with their unit.
pub fn value(reading: &Reading) -> String {
    let number = |v: &Value| match v {
        Value::Number(n) => n.to_string(),
        Value::Absent(_) => "-".into(),
    };
    let shown = |p: &&Part| reading.vital.component(p.role).is_some();
    let numbers: Vec<_> = reading.parts.iter().filter(shown).map(|p| number(&p.value)).collect();
    let unit = reading.parts.first().map_or("", |p| p.unit.display());
    format!("{} {unit}", numbers.join("/")).trim_end().to_owned()
}

/// Labels of a reading, as words.
pub fn quality(reading: &Reading) -> String {
    let labels = reading.labels();
    let words = labels.iter().filter_map(|q| serde_json::to_value(q).ok());
    words.filter_map(|w| w.as_str().map(str::to_owned)).collect::<Vec<_>>().join(", ")
}

/// JSON, indented; numbers and strings keep their text (a parser would lose decimals).
pub fn indent(json: &str) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0_usize, false, false);
    for c in json.chars() {
        let line = |depth: usize| format!("\n{}", "  ".repeat(depth));
        match c {
            _ if quoted => {
                quoted = escaped || c != '"';
                escaped = !escaped && c == '\\';
                out.push(c);
            }
            '"' => {
                quoted = true;
                out.push(c);
            }
            '{' | '[' => {
                depth += 1;
                out.push(c);
                out.push_str(&line(depth));
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                out.push_str(&line(depth));
                out.push(c);
            }
            ',' => out.push_str(&format!(",{}", line(depth))),
            ':' => out.push_str(": "),
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

/// A priority as a word.
pub fn priority(alert: &Alert) -> &'static str {
    match alert.priority {
        Priority::High => "high",
        Priority::Medium => "medium",
        Priority::Low => "low",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_the_terminal() {
        let mut table = Table::new(&["name", "why"]);
        table.row(["ward".into(), "x".repeat(200)]);
        let text = table.render("none");
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH));
        assert!(text.starts_with("NAME  WHY\nward  xxx") && text.ends_with("…\n"));
        assert_eq!(Table::new(&["name"]).render("There are none."), "There are none.\n");
    }

    #[test]
    fn indented_json_keeps_its_decimals() {
        let json = r#"{"value":36.0,"note":"a:{\\\"b\\\",[c]"}"#;
        let out = indent(json);
        assert!(out.contains("\"value\": 36.0,\n"));
        let (before, after): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(json).unwrap(), serde_json::from_str(&out).unwrap());
        assert_eq!(before, after);
    }

    #[test]
    fn ages_are_rough_and_times_are_utc() {
        assert_eq!([age(0), age(119), age(7_199), age(90_000)], ["0 s", "119 s", "119 min", "25 h"].map(String::from));
        assert_eq!(time(1_800_000_000_000), "2027-01-15 08:00:00Z");
        assert_eq!(minute(1_800_000_000_000), "01-15 08:00Z");
        assert_eq!([time(i64::MAX), minute(i64::MAX)], ["?", "?"]);
    }
}
