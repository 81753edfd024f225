//! The scene as HTML, whole or in parts. Pure; everything that is not ours is escaped.

use std::fmt::Write as _;

use serde::Serialize;

use super::scene::{Person, Place, Scene, Shown, Tile};
use super::spark::spark;
use crate::alarm::Priority;
use crate::control::inbox::Group;
use crate::control::view::LinkState;

/// One part of the page: replaced by the script when it changed.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    /// Id of its element.
    pub id: String,
    /// Class of its element.
    pub class: &'static str,
    /// What stands in it.
    pub html: String,
}

/// The parts in the order of the page.
pub(super) fn parts(scene: &Scene) -> Vec<Part> {
    let mut parts = vec![headline(scene), alerts(scene)];
    parts.extend(scene.people.iter().enumerate().map(|(n, p)| person(n, p, scene)));
    parts.push(stuck(scene));
    parts.push(custody(scene));
    parts
}

/// The whole page.
pub(super) fn whole(scene: &Scene) -> String {
    let mut html = String::with_capacity(64 * 1024);
    let _ = write!(html, include_str!("assets/head.html"), gateway = escape(&scene.gateway));
    let mut people = false;
    for part in parts(scene) {
        let is_person = part.id.starts_with("person-");
        if is_person != people {
            html.push_str(if is_person { "<div id=\"people\">\n" } else { "</div>\n" });
            people = is_person;
        }
        let _ = writeln!(html, r#"<section id="{}" class="{}">{}</section>"#, part.id, part.class, part.html);
        if part.id == "alerts" && scene.people.is_empty() {
            html.push_str("<div id=\"people\"></div>\n");
        }
    }
    html.push_str(include_str!("assets/foot.html"));
    html
}

/// The one sentence that matters now.
fn headline(scene: &Scene) -> Part {
    let (class, title, text) = sentence(scene);
    let icon = match class {
        "headline alarm" => "!",
        "headline warn" => "…",
        _ => "✓",
    };
    let html = format!(
        r#"<span class="sign" aria-hidden="true">{icon}</span><div><h1>{}</h1><p>{}</p></div>"#,
        escape(&title),
        escape(&text)
    );
    Part { id: "headline".into(), class, html }
}

fn sentence(scene: &Scene) -> (&'static str, String, String) {
    let open: Vec<&Shown> = scene.alerts.iter().filter(|s| s.alert.acknowledged.is_none()).collect();
    let waiting: u64 = scene.places.iter().filter_map(|p| p.outbox.as_ref()).map(|o| o.waiting).max().unwrap_or(0);
    let down: Vec<&str> =
        scene.places.iter().filter(|p| p.link.state == LinkState::Down).map(|p| &*p.link.name).collect();
    let kept = match waiting {
        0 => "Nothing is waiting.".to_owned(),
        1 => "1 message is safe on this box and will be sent.".to_owned(),
        n => format!("{} messages are safe on this box and will be sent.", grouped(n)),
    };
    if let Some(first) = open.first() {
        let title = match (open.len(), first.who.as_str()) {
            (1, "") => "Something needs attention".to_owned(),
            (1, who) => format!("{who} needs attention"),
            (n, _) => format!("{n} alerts need attention"),
        };
        let link =
            if down.is_empty() { String::new() } else { format!(" No connection to {}: {kept}", down.join(", ")) };
        return ("headline alarm", title, format!("Please look at the alerts below and take them.{link}"));
    }
    if let Some(trouble) = &scene.trouble {
        return ("headline warn", "This page cannot read the journal".into(), trouble.clone());
    }
    if !scene.stalled.is_empty() {
        let text = format!("No progress in: {}. Values may be old.", scene.stalled.join(", "));
        return ("headline warn", "The gateway is not working as it should".into(), text);
    }
    if !down.is_empty() {
        return ("headline warn", format!("No connection to {}", down.join(", ")), kept);
    }
    let cut: Vec<&str> = scene.sources.iter().filter(|l| l.state == LinkState::Down).map(|l| &*l.name).collect();
    if !cut.is_empty() {
        let text = "No new readings come from there until it is back.".into();
        return ("headline warn", format!("No connection to {}", cut.join(", ")), text);
    }
    if !scene.clock_trusted {
        let text = "Readings are kept; their times are found when the clock is set.".into();
        return ("headline warn", "The clock of this box is not set".into(), text);
    }
    if let Some(first) = scene.stuck.first() {
        let title = match scene.stuck.len() {
            1 => first.title.clone(),
            n => format!("{n} causes hold something back"),
        };
        return ("headline warn", title, "It is safe on this box, and not sent until somebody acts: see below.".into());
    }
    if waiting > 100 {
        return ("headline warn", "Catching up".into(), kept);
    }
    if scene.people.is_empty() {
        return ("headline good", "Ready".into(), "No reading has come yet.".into());
    }
    ("headline good", "All is well".into(), "Readings arrive, are safe on this box, and are delivered.".into())
}

fn alerts(scene: &Scene) -> Part {
    let mut html = String::new();
    if !scene.alerts.is_empty() {
        html.push_str("<h2>Alerts</h2><ul>");
        scene.alerts.iter().for_each(|shown| alert(&mut html, shown, scene));
        html.push_str("</ul>");
    }
    Part { id: "alerts".into(), class: "alerts", html }
}

fn alert(html: &mut String, shown: &Shown, scene: &Scene) {
    let a = &shown.alert;
    let priority = word(a.priority);
    let state = if a.acknowledged.is_some() { "taken" } else { "open" };
    let who = if shown.who.is_empty() { "This box" } else { &shown.who };
    let (id, who, text) = (escape(&a.id.0), escape(who), escape(&a.text));
    let (since, clock) = (ago(scene.now_ms, a.raised.wall_ms), clock(scene, a.raised.wall_ms));
    let _ = write!(
        html,
        r#"<li class="alert {priority} {state}"><div><p class="meta"><span class="priority">{priority}</span> {clock}, {since}</p><p class="who">{who}</p><p class="what">{text}</p>"#
    );
    match &a.acknowledged {
        Some(taken) => {
            let at = self::clock(scene, taken.at.wall_ms);
            let _ =
                write!(html, r#"<p class="by">{} is taking care of it, since {at}</p></div></li>"#, escape(&taken.by));
        }
        None => {
            let _ = write!(
                html,
                r#"</div><button type="button" class="take" data-alert="{id}" data-who="{who}" data-what="{text}">I’ll take care of it</button></li>"#
            );
        }
    }
}

fn person(n: usize, person: &Person, scene: &Scene) -> Part {
    let class = match person.alarm {
        Some(Priority::High) => "person high",
        Some(Priority::Medium) => "person medium",
        Some(Priority::Low) => "person low",
        None => "person",
    };
    let mut html = format!("<h2>{}</h2><dl>", escape(&person.name));
    person.tiles.iter().for_each(|t| tile(&mut html, t, scene));
    html.push_str("</dl>");
    Part { id: format!("person-{n}"), class, html }
}

fn tile(html: &mut String, tile: &Tile, scene: &Scene) {
    let label = format!("Trend of {}", tile.name.to_lowercase());
    let lines: Vec<&[(i64, f64)]> = tile.lines.iter().map(Vec::as_slice).collect();
    let when = tile.at_ms.map_or("time unknown".to_owned(), |at| ago(scene.now_ms, at));
    let _ = write!(html, r#"<div class="tile"><dt>{}</dt><dd>"#, escape(tile.name));
    let _ = match &tile.value {
        Some(value) => write!(html, r#"<span class="value">{}</span>"#, escape(value)),
        None => write!(html, r#"<span class="value none">no value</span>"#),
    };
    if let Some(doubt) = tile.doubt {
        let _ = write!(html, r#" <span class="doubt">{doubt}</span>"#);
    }
    let _ = write!(
        html,
        r#"<span class="when"><b>{}</b> {when}</span>{}</dd></div>"#,
        escape(tile.unit),
        spark(&lines, tile.least, &label)
    );
}

/// What is held back until somebody acts.
fn stuck(scene: &Scene) -> Part {
    let mut html = String::new();
    if !scene.stuck.is_empty() {
        html.push_str("<h2>Held back until somebody acts</h2><ul>");
        scene.stuck.iter().for_each(|group| held(&mut html, group, scene));
        html.push_str("</ul>");
    }
    Part { id: "inbox".into(), class: "alerts", html }
}

fn held(html: &mut String, group: &Group, scene: &Scene) {
    let (id, title, why) = (escape(&group.id), escape(&group.title), escape(&group.why.text));
    let (priority, owner) = (word(group.priority), group.owner.phrase());
    let (state, due) = match (&group.assignee, group.overdue) {
        (Some(_), false) => ("taken", format!("by {}", day(scene, group.due_ms))),
        (None, false) => ("open", format!("by {}", day(scene, group.due_ms))),
        (_, true) => ("open", format!("overdue since {}", day(scene, group.due_ms))),
    };
    let _ = write!(
        html,
        r#"<li class="alert {priority} {state}"><div><p class="meta"><span class="priority">{priority}</span> for the {owner}, {due}</p><p class="who">{title}</p><p class="what">{why} <code>{}</code></p><p class="meta">{} <code>wardline inbox show {id}</code></p>"#,
        escape(&group.why.code),
        escape(&group.fix.words)
    );
    let phrase = group.state.phrase();
    let _ = match &group.assignee {
        Some(who) => write!(html, r#"<p class="by">{} sees to it ({phrase})</p></div></li>"#, escape(who)),
        None => write!(
            html,
            r#"</div><button type="button" class="take" data-group="{id}" data-who="{title}" data-what="{why}">I’ll see to it</button></li>"#
        ),
    };
}

/// `Mon 14:05` on the clock on the wall.
fn day(scene: &Scene, at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_zoned(scene.zone.clone()).strftime("%a %H:%M").to_string()
}

/// Where readings go, and what waits.
fn custody(scene: &Scene) -> Part {
    let mut html = String::from("<h2>Where readings go</h2><div class=\"places\">");
    scene.places.iter().for_each(|p| place(&mut html, p, scene));
    html.push_str("</div>");
    if scene.unassigned > 0 {
        let n = scene.unassigned;
        let (s, verb) = if n == 1 { ("", "belongs") } else { ("s", "belong") };
        let _ = write!(
            html,
            r#"<p class="note">{n} device{s} {verb} to nobody yet: readings are kept here and not sent. Assign with <code>wardline devices add</code>.</p>"#
        );
    }
    Part { id: "custody".into(), class: "custody", html }
}

fn place(html: &mut String, place: &Place, scene: &Scene) {
    let link = &place.link;
    let (class, state) = match link.state {
        LinkState::Up => ("up", "connected"),
        LinkState::Starting => ("starting", "not tried yet"),
        LinkState::Down => ("down", "no connection"),
    };
    let since =
        link.since_ms.filter(|_| link.state == LinkState::Down).map(|at| format!(" since {}", clock(scene, at)));
    let _ = write!(
        html,
        r#"<article class="place {class}"><h3>{}</h3><p class="state">{state}{}</p>"#,
        escape(&link.name),
        since.unwrap_or_default()
    );
    if let Some(o) = &place.outbox {
        let _ = write!(
            html,
            r#"<ul class="numbers"><li><b>{}</b> delivered</li><li class="waiting"><b>{}</b> waiting</li><li class="{}"><b>{}</b> refused</li></ul>"#,
            grouped(o.delivered),
            grouped(o.waiting),
            if o.rejected > 0 { "refused" } else { "none" },
            grouped(o.rejected)
        );
        html.push_str(&spark(&[&place.waited], 10.0, "Messages waiting, over time"));
    }
    if let Some(why) = link.why.as_ref().filter(|_| link.state == LinkState::Down) {
        let _ = write!(html, r#"<p class="why">{} <code>{}</code></p>"#, escape(&why.text), escape(&why.code));
    }
    html.push_str("</article>");
}

fn word(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "high",
        Priority::Medium => "medium",
        Priority::Low => "low",
    }
}

/// `14:05` on the clock on the wall.
fn clock(scene: &Scene, at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_zoned(scene.zone.clone()).strftime("%H:%M").to_string()
}

/// `just now`, `3 min ago`, `2 h ago`, `4 days ago`.
pub(super) fn ago(now_ms: i64, at_ms: i64) -> String {
    match now_ms.saturating_sub(at_ms) / 1_000 {
        ..10 => "just now".into(),
        s @ ..60 => format!("{} s ago", s / 10 * 10),
        s @ ..3_600 => format!("{} min ago", s / 60),
        s @ ..172_800 => format!("{} h ago", s / 3_600),
        s => format!("{} days ago", s / 86_400),
    }
}

/// `12 345` with a narrow space.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// Text as text, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_ages_are_words() {
        assert_eq!([grouped(0), grouped(999), grouped(1_234_567)], ["0", "999", "1\u{202f}234\u{202f}567"]);
        assert_eq!(
            [ago(9_000, 0), ago(59_000, 0), ago(3_599_000, 0), ago(7_200_000, 0)],
            ["just now", "50 s ago", "59 min ago", "2 h ago"]
        );
        assert_eq!(ago(0, 60_000), "just now", "a clock that is ahead is no future");
    }
}
