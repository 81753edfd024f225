//! Alert events to a webhook: one signed POST each.
//!
//! Body: `docs/webhook.md`. `Wardline-Signature: t=<seconds since 1970>,v1=<hex HMAC-SHA256(secret, "<t>.<body>")>`.
//! Must never: send a reading, send unsigned, or follow where the receiver points to.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use ring::hmac;
use serde::Serialize;

use super::answer::patience;
use super::http::{Answer, Peer, exchange};
use super::why::Trouble;
use super::{Destination, SinkError};
use crate::alarm::{self, Alert, AlertEvent, Condition, Happened, Priority};
use crate::clock::{Clock, Stamp};
use crate::config::{GatewayId, WebhookSettings};
use crate::custody::{Item, Outcome, Payload, Receipt};
use crate::reading::Reading;
use crate::secret;

/// A webhook.
pub struct WebhookSink {
    peer: Peer,
    key: hmac::Key,
    gateway: GatewayId,
    clock: Clock,
}

/// What the receiver gets.
#[derive(Serialize)]
struct Body<'a> {
    /// The same for every try: receivers use it to know a resend.
    delivery: &'a str,
    gateway: &'a str,
    event: Happened,
    at: Option<String>,
    alert: Record<'a>,
}

#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    rule: &'a str,
    condition: Condition,
    priority: Priority,
    patient: Option<&'a str>,
    device: Option<&'a str>,
    vital: Option<&'static str>,
    text: &'a str,
    raised: Option<String>,
    acknowledged: Option<Acknowledged<'a>>,
    resolved: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_back: Option<Acknowledged<'a>>,
}

#[derive(Serialize)]
struct Acknowledged<'a> {
    by: &'a str,
    at: Option<String>,
}

impl WebhookSink {
    /// From settings; reads the secret.
    pub fn new(settings: &WebhookSettings, gateway: &GatewayId, clock: &Clock) -> Result<Self, SinkError> {
        let timeout = Duration::from_secs(settings.timeout_s.max(1));
        let peer = Peer::new(&settings.url, settings.tls(), timeout)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret::read(&settings.secret_file)?.line());
        Ok(Self { peer, key, gateway: gateway.clone(), clock: clock.clone() })
    }

    async fn post(&self, item: &Item, event: &AlertEvent) -> Outcome {
        let delivery = delivery(event);
        let body = match serde_json::to_vec(&self.body(event, &delivery)) {
            Ok(body) => body,
            Err(_) => return Trouble::Unclear("the alert cannot be written").reject(),
        };
        let request = self
            .peer
            .client
            .post(self.peer.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("wardline-delivery", &delivery)
            .header("wardline-signature", sign(&self.key, self.clock.now(), &body))
            .body(body);
        match exchange(request).await {
            Ok(answer) => judge(&answer, item, &delivery),
            Err(trouble) => trouble.destination(None),
        }
    }

    fn body<'a>(&'a self, event: &'a AlertEvent, delivery: &'a str) -> Body<'a> {
        let AlertEvent { happened, at, alert } = event;
        Body { delivery, gateway: &self.gateway, event: *happened, at: time(*at), alert: record(alert) }
    }
}

impl Destination for WebhookSink {
    async fn deliver(&self, items: &[Item], _evidence: &[Arc<Reading>]) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(items.len());
        for item in items {
            // One after the other; when the receiver is away, the rest need not find out.
            let away = outcomes.last().filter(|o| matches!(o, Outcome::Retry { destination: true, .. })).cloned();
            outcomes.push(match (&item.what, away) {
                (_, Some(away)) => away,
                (Payload::Alert(event), None) => self.post(item, event).await,
                (Payload::Reading(_), None) => Trouble::Unclear("a webhook takes alerts only").reject(),
            });
        }
        outcomes
    }

    fn batch_max(&self) -> usize {
        1
    }

    fn linger(&self) -> Duration {
        Duration::ZERO
    }

    fn takes_readings(&self) -> bool {
        false
    }

    fn takes_alerts(&self) -> bool {
        true
    }
}

fn record(alert: &Alert) -> Record<'_> {
    Record {
        id: &alert.id.0,
        rule: &alert.rule,
        condition: alert.condition,
        priority: alert.priority,
        patient: alert.patient.as_ref().map(|p| p.reveal()),
        device: alert.device.as_ref().map(|d| &*d.0),
        vital: alert.vital.map(|v| v.id),
        text: &alert.text,
        raised: time(alert.raised),
        acknowledged: alert.acknowledged.as_ref().map(person),
        resolved: alert.resolved.and_then(time),
        taken_back: alert.taken_back.as_ref().map(person),
    }
}

fn person(who: &alarm::Acknowledged) -> Acknowledged<'_> {
    Acknowledged { by: &who.by, at: time(who.at) }
}

/// `<alert id>-raised`: an alert is raised, acknowledged, resolved and taken back once each.
fn delivery(event: &AlertEvent) -> String {
    let happened = match event.happened {
        Happened::Raised => "raised",
        Happened::Acknowledged => "acknowledged",
        Happened::Resolved => "resolved",
        Happened::TakenBack => "taken-back",
    };
    format!("{}-{happened}", event.alert.id)
}

/// `None`: our clock was not set then.
fn time(at: Stamp) -> Option<String> {
    at.trusted.then(|| at.timestamp().to_string())
}

/// `t=…,v1=…`: the time is signed too, so that an old delivery cannot be played again later.
fn sign(key: &hmac::Key, now: Stamp, body: &[u8]) -> String {
    let t = now.wall_ms.div_euclid(1_000);
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{t}.").as_bytes());
    context.update(body);
    let mut out = format!("t={t},v1=");
    // Writing to a String cannot fail.
    let _ = context.sign().as_ref().iter().try_for_each(|b| write!(out, "{b:02x}"));
    out
}

/// Any 2xx takes it. What looks like a wrong address or credential waits; only 400 and 422 refuse the event itself.
fn judge(answer: &Answer, item: &Item, delivery: &str) -> Outcome {
    match answer.status {
        200..=299 => Outcome::Delivered(Receipt { location: delivery.into(), known: false }),
        status @ (400 | 422) => Trouble::Refused { status, detail: String::new() }.reject(),
        s @ (401 | 403) => Trouble::Credential(s).destination(answer.retry_after),
        s @ (408 | 425 | 429) => Trouble::Throttled(s).destination(answer.retry_after),
        409 => Trouble::Conflict.item(patience(item.attempts)),
        413 => Trouble::TooLarge.reject(),
        s @ 300..=499 => Trouble::NotHere(s).destination(answer.retry_after),
        s @ 502..=504 => Trouble::Unavailable(s).destination(answer.retry_after),
        s => Trouble::ServerError(s).destination(answer.retry_after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_receivers_compute() {
        // RFC 4231 style: python3 -c "hmac.new(b'hush', b'1700000000.{}', 'sha256').hexdigest()"
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"hush");
        assert_eq!(
            sign(&key, Stamp::at_ms(1_700_000_000_999), b"{}"),
            "t=1700000000,v1=763081ea12e3b1f903f958994c023cde07f1224b02a538ad6f959112a2f780ba"
        );
    }
}
