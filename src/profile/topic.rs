//! Topic patterns: literal levels, `+`, and at most one `{device}` that stands for a whole level.
//!
//! Must never: match `$…` topics of the broker by a wildcard (MQTT 5.0 §4.7.2).

use crate::limits::TEXT_CHARS_MAX;

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Level>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(Box<str>),
    Any,
    Device,
}

impl Pattern {
    /// Parses a pattern; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let level = |part: &str| match part {
            "" => Err("an empty level"),
            "+" => Ok(Level::Any),
            "{device}" => Ok(Level::Device),
            p if p.contains(['#', '+', '{', '}']) => Err("a wildcard must be a whole level: `+` or `{device}`"),
            p => Ok(Level::Literal(p.into())),
        };
        let levels: Vec<Level> = text.split('/').map(level).collect::<Result<_, _>>()?;
        if levels.iter().filter(|l| **l == Level::Device).count() > 1 {
            return Err("`{device}` twice");
        }
        if levels.iter().all(|l| !matches!(l, Level::Literal(_))) {
            return Err("no literal level: it would match the topics of every other profile");
        }
        Ok(Self(levels))
    }

    /// How many levels it has: topics of another length do not match.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many levels are literal: the pattern with most of them wins.
    pub(super) fn literals(&self) -> usize {
        self.0.iter().filter(|l| matches!(l, Level::Literal(_))).count()
    }

    /// Whether the topic names the device.
    pub(super) fn names_device(&self) -> bool {
        self.0.contains(&Level::Device)
    }

    /// The MQTT topic filter.
    pub(super) fn filter(&self) -> String {
        let level = |l: &Level| match l {
            Level::Literal(text) => text.to_string(),
            Level::Any | Level::Device => "+".into(),
        };
        self.0.iter().map(level).collect::<Vec<_>>().join("/")
    }

    /// The device's id, or "" where the pattern names none. `None`: the topic does not match.
    pub(super) fn matches<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let mut device = "";
        let mut levels = topic.split('/');
        for (i, level) in self.0.iter().enumerate() {
            let part = levels.next()?;
            match level {
                Level::Literal(text) if **text != *part => return None,
                Level::Literal(_) => {}
                _ if part.is_empty() || (i == 0 && part.starts_with('$')) => return None,
                Level::Any => {}
                Level::Device => device = part,
            }
        }
        levels.next().is_none().then_some(device)
    }
}

/// Whether a text can be the id of a device: short, printable, not empty.
pub(super) fn is_device_id(text: &str) -> bool {
    !text.is_empty()
        && text.chars().take(TEXT_CHARS_MAX + 1).count() <= TEXT_CHARS_MAX
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_levels() {
        let p = Pattern::parse("home/+/BTtoMQTT/{device}").unwrap();
        assert_eq!(p.matches("home/box/BTtoMQTT/AABB"), Some("AABB"));
        assert_eq!(p.filter(), "home/+/BTtoMQTT/+");
        for other in
            ["home/box/BTtoMQTT", "home/box/BTtoMQTT/a/b", "home/box/BTtoMQTT/", "home//BTtoMQTT/a", "x/box/BTtoMQTT/a"]
        {
            assert_eq!(p.matches(other), None, "{other}");
        }
        assert_eq!(Pattern::parse("{device}/state").unwrap().matches("$SYS/state"), None);
        assert_eq!(Pattern::parse("all/vitals").unwrap().matches("all/vitals"), Some(""));
    }

    #[test]
    fn patterns_that_would_catch_anything_are_refused() {
        for bad in ["", "a//b", "#", "a/#", "+/{device}", "a/{device}/{device}", "a/x{device}", "a+/b"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn device_ids_are_short_and_printable() {
        assert!(is_device_id("AA:BB:CC") && is_device_id("cuff-17"));
        for bad in ["", "a b", "a\nb", "a\u{0}", &"x".repeat(TEXT_CHARS_MAX + 1)] {
            assert!(!is_device_id(bad));
        }
    }
}
