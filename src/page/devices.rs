//! The technician's view: Bluetooth devices of this box and those around, with what can be done about each.
//!
//! It shows what the control plane's handlers know; every order goes through them, and they decide who may give it
//! (`control/technician.rs`). Must never: show an order as allowed, or hold a key.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};

use super::render::{Part, ago, escape};
use crate::config::{DeviceSettings, PatientSettings};
use crate::control::radio::{Peripheral, RadioState, Stranger};
use crate::control::{Desk, Fault};

/// What the view is made of.
pub(super) struct Devices {
    desk: Arc<Desk>,
    /// Whom a device may be given to: reference, and what the household calls them.
    people: Vec<(String, String)>,
}

impl Devices {
    pub(super) fn new(desk: Arc<Desk>, patients: &[PatientSettings]) -> Self {
        let name = |p: &PatientSettings| {
            let reference = p.reference.reveal().to_owned();
            (reference.clone(), p.display.clone().unwrap_or(reference))
        };
        Self { desk, people: patients.iter().map(name).collect() }
    }

    fn owner(&self, settings: Option<&DeviceSettings>) -> String {
        let Some(settings) = settings else { return "nobody’s".into() };
        let called = |reference: &str| {
            self.people.iter().find(|(r, _)| r == reference).map_or_else(|| reference.to_owned(), |(_, n)| n.clone())
        };
        let slots = settings.slots.iter().map(|(slot, p)| format!("{} (user {slot})", called(p.reveal())));
        let all: Vec<String> = settings.patient.iter().map(|p| called(p.reveal())).chain(slots).collect();
        if all.is_empty() { "nobody’s".into() } else { all.join(", ") }
    }

    /// The parts by their id, in the order of the page.
    fn parts(&self, known: &[DeviceSettings]) -> Vec<Part> {
        let Some(radio) = &self.desk.radio else {
            let html = "<h1>There is no Bluetooth source</h1><p>Add <code>[[source]]</code> with <code>kind = \"bluetooth\"</code> to the configuration.</p>";
            let nothing = |id: &str| Part { id: id.into(), class: "devices", html: String::new() };
            return vec![
                Part { id: "radio".into(), class: "headline warn", html: format!("<div>{html}</div>") },
                nothing("known"),
                nothing("strangers"),
            ];
        };
        let (state, now) = (radio.state(), self.desk.clock.now().wall_ms);
        let (mut ours, mut others) = (String::new(), String::new());
        for device in &state.devices {
            let settings = known.iter().find(|d| d.id.0.eq_ignore_ascii_case(&device.id.0));
            let shared = settings.is_some_and(|d| !d.slots.is_empty());
            peripheral(&mut ours, device, (&self.owner(settings), shared), now);
        }
        radio.strangers().iter().for_each(|s| stranger(&mut others, s, now));
        let ours = list("Devices of this box", &ours, "None yet. Wake a device: it appears below.");
        let others = list("Others around", &others, "Nobody else was heard within the last minute.");
        vec![
            headline(&state, now),
            Part { id: "known".into(), class: "devices", html: ours },
            Part { id: "strangers".into(), class: "devices", html: others },
        ]
    }

    fn whole(&self, parts: &[Part]) -> String {
        let mut html = String::with_capacity(16 * 1024);
        let _ = write!(html, include_str!("assets/devices-head.html"), gateway = escape(&self.desk.gateway));
        for part in parts {
            let _ = writeln!(html, r#"<section id="{}" class="{}">{}</section>"#, part.id, part.class, part.html);
        }
        let option = |(reference, name): &(String, String)| {
            format!(r#"<option value="{}">{}</option>"#, escape(reference), escape(name))
        };
        let people: String = self.people.iter().map(option).collect();
        let _ = write!(html, include_str!("assets/devices-foot.html"), people = people);
        html
    }
}

type Shared = Arc<Devices>;

pub(super) async fn page(State(view): State<Shared>) -> Response {
    match look(&view).await {
        Some(parts) => Html(view.whole(&parts)).into_response(),
        None => Fault::Busy.into_response(),
    }
}

pub(super) async fn live(State(view): State<Shared>) -> Response {
    match look(&view).await {
        Some(parts) => Json(parts).into_response(),
        None => Fault::Busy.into_response(),
    }
}

/// Whose they are is in the journal, which is read where waiting for the disk hurts nobody.
async fn look(view: &Shared) -> Option<Vec<Part>> {
    let records = view.desk.records.clone();
    let known = tokio::task::spawn_blocking(move || records.devices()).await.ok()?.unwrap_or_default();
    Some(view.parts(&known))
}

/// A list, or what is said in its place.
fn list(title: &str, cards: &str, nothing: &str) -> String {
    match cards {
        "" => format!("<h2>{title}</h2><p class=\"note\">{nothing}</p>"),
        cards => format!("<h2>{title}</h2><ul>{cards}</ul>"),
    }
}

fn headline(state: &RadioState, now: i64) -> Part {
    let heard =
        state.heard_ms.map_or_else(|| "Nothing was heard yet.".into(), |at| format!("Last heard {}.", ago(now, at)));
    let wrong = state.devices.iter().filter(|d| d.why.is_some()).count();
    let (class, sign, title) = match (&state.adapter, wrong) {
        (None, _) => ("headline warn", "…", "There is no Bluetooth adapter".to_owned()),
        (Some(_), 0) => ("headline good", "✓", "The radio works".to_owned()),
        (Some(_), 1) => ("headline warn", "…", "One device needs a look".to_owned()),
        (Some(_), n) => ("headline warn", "…", format!("{n} devices need a look")),
    };
    let html = format!(
        r#"<span class="sign" aria-hidden="true">{sign}</span><div><h1>{title}</h1><p>{}{heard}</p></div>"#,
        state.adapter.as_ref().map(|a| format!("Adapter {}. ", escape(a))).unwrap_or_default()
    );
    Part { id: "radio".into(), class, html }
}

fn peripheral(html: &mut String, d: &Peripheral, (owner, shared): (&str, bool), now: i64) {
    let class = if d.why.is_some() {
        "down"
    } else if d.state == "away" {
        ""
    } else {
        "up"
    };
    let id = escape(&d.id.0);
    let title = d.model.as_deref().map_or_else(|| id.clone(), escape);
    let _ =
        write!(html, r#"<li class="place device {class}"><h3>{title}</h3><p class="state">{}</p>"#, escape(&d.state));
    let _ = write!(html, r#"<p class="who">{}</p><p class="meta"><code>{id}</code></p>"#, escape(owner));
    html.push_str("<dl class=\"facts\">");
    let mut fact = |what: &str, value: &str| {
        let _ = write!(html, "<div><dt>{what}</dt><dd>{}</dd></div>", escape(value));
    };
    fact("Bond", if d.paired { "paired" } else { "none" });
    fact("Heard", &d.seen_ms.map_or_else(|| "never".into(), |at| ago(now, at)));
    fact("Answered", &d.answered_ms.map_or_else(|| "never".into(), |at| ago(now, at)));
    d.rssi.iter().for_each(|rssi| fact("Signal", &strength(*rssi)));
    d.battery.iter().for_each(|level| fact("Battery", &format!("{level} %")));
    d.firmware.iter().for_each(|firmware| fact("Firmware", firmware));
    fact("Values", &d.values.to_string());
    html.push_str("</dl>");
    let pair = if d.paired { "Pair again" } else { "Pair" };
    for why in d.why.iter().chain(&d.gaps).chain(&d.users) {
        // The command line's word for the button below.
        let text = why.text.replace("`wardline devices pair ID`", &format!("press “{pair}” here"));
        let _ = write!(html, r#"<p class="why">{} <code>{}</code></p>"#, escape(&text), escape(&why.code));
    }
    let order = |html: &mut String, what: &str, words: &str| {
        let _ = write!(html, r#"<button type="button" data-do="{what}" data-device="{id}">{words}</button>"#);
    };
    html.push_str("<p class=\"orders\">");
    order(html, "pair", pair);
    // Slots are given on the command line, one by one.
    if !shared {
        order(html, "give", "Give to…");
    }
    if d.paired {
        order(html, "forget", "Forget bond");
    }
    html.push_str("</p></li>");
}

fn stranger(html: &mut String, s: &Stranger, now: i64) {
    let id = escape(&s.id.0);
    let title = s.name.as_deref().map_or_else(|| "without a name".into(), escape);
    let class = if s.profiles.is_empty() { "" } else { "starting" };
    let _ = write!(html, r#"<li class="place device {class}"><h3>{title}</h3><p class="meta"><code>{id}</code></p>"#);
    let signal = s.rssi.map(|rssi| format!("{}, ", strength(rssi))).unwrap_or_default();
    let reads = if s.profiles.is_empty() {
        "no profile reads it".into()
    } else {
        format!("read as {}", escape(&s.profiles.join(", ")))
    };
    let _ = write!(html, r#"<p class="meta">{signal}heard {}; {reads}</p>"#, ago(now, s.seen_ms));
    if !s.profiles.is_empty() {
        let _ = write!(
            html,
            r#"<p class="orders"><button type="button" class="take" data-do="give" data-device="{id}">Add…</button></p>"#
        );
    }
    html.push_str("</li>");
}

/// In words that a person can act on, with the figure.
fn strength(rssi: i16) -> String {
    let word = match rssi {
        -65.. => "strong",
        -80.. => "fair",
        _ => "weak",
    };
    format!("{word} ({}{} dBm)", if rssi < 0 { "−" } else { "" }, rssi.unsigned_abs())
}
