//! The ward's devices as MQTT publishers: the messages of the profile `wardline-json`, through any broker.
//!
//! Promises: each message is published with QoS 1 and counted when the broker took it; a repetition has the same id.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::Duration;

use rumqttc::{AsyncClient, Broker, Event, EventLoop, MqttOptions, Packet, PublishOptions};
use serde::Serialize;

use crate::clock::Clock;
use crate::lab::device::{Measured, TOOLS, Tool};
use crate::lab::ward::{Play, Step, Ward, reference};
use crate::limits::LAB_MQTT_QUEUE_MAX;

/// A broker that does not answer is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// Where to publish.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User and password.
    pub credentials: Option<(String, String)>,
    /// Client id.
    pub client_id: String,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Messages published.
    pub messages: u64,
    /// Messages that the broker took (PUBACK).
    pub acknowledged: u64,
    /// Different readings in the whole ones.
    pub readings: u64,
    /// Messages cut short, to be rejected.
    pub broken: u64,
    /// Messages sent a second time.
    pub repeated: u64,
}

/// Why nothing can be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// `mqtt://host:port`.
    #[error("not an address like mqtt://127.0.0.1:1883: {0}")]
    Url(String),
    /// The client does not accept this.
    #[error("MQTT: {0}")]
    Client(String),
}

impl Target {
    /// From `mqtt://host:port`; 1883 by default.
    pub fn parse(url: &str) -> Result<Self, PublishError> {
        let wrong = || PublishError::Url(url.to_owned());
        let rest = url.strip_prefix("mqtt://").ok_or_else(wrong)?.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (rest, 1_883),
        };
        if host.is_empty() || host.contains(['/', '@']) {
            return Err(wrong());
        }
        let client_id = format!("wardline-lab-{}", std::process::id());
        Ok(Self { host: host.into(), port, credentials: None, client_id })
    }
}

/// Name of a device on the broker; the gateway knows it as `mqtt:<name>`.
pub fn device_name(tool: Tool, patient: u32) -> String {
    let kind = match tool {
        Tool::HeartStrap => "strap",
        Tool::Cuff => "cuff",
        Tool::Oximeter => "oximeter",
        Tool::Thermometer => "thermometer",
        Tool::Scale => "scale",
        Tool::Glucometer => "meter",
    };
    format!("{kind}-{:03}", patient + 1)
}

/// The ward's patients and devices, as they stand in a gateway's configuration.
pub fn config(ward: &Ward) -> String {
    let mut text = String::new();
    let quoted = |s: &str| serde_json::to_string(s).unwrap_or_default();
    for patient in &ward.patients {
        let (who, name) = (quoted(reference(patient).reveal()), quoted(&patient.name()));
        let _ = writeln!(text, "[[patient]]\nreference = {who}\ndisplay = {name}\n");
        for tool in TOOLS {
            let id = quoted(&format!("mqtt:{}", device_name(tool, patient.number)));
            let _ = writeln!(text, "[[device]]\nid = {id}\npatient = {who}\n");
        }
    }
    text
}

/// Publishes the play, as fast as its tempo says, until the broker took the last message.
pub async fn publish(target: &Target, mut play: Play, clock: &Clock) -> Result<Published, PublishError> {
    let (client, mut events) = open(target)?;
    let progress = Cell::new((0, false));
    let start = clock.now();
    let mut done = Published::default();
    let feed = async {
        let mut writer = Writer { id: start.wall_ms.unsigned_abs().saturating_mul(10_000), last: None };
        while let Some(step) = play.advance() {
            tokio::time::sleep(step.after.saturating_sub(clock.now().since(start))).await;
            let Some((topic, text)) = writer.message(&step, &start.plus(step.after).timestamp().to_string()) else {
                continue;
            };
            let sent = client.publish(topic, text, PublishOptions::at_least_once()).await;
            sent.map_err(|e| PublishError::Client(e.to_string()))?;
            done.messages += 1;
            done.readings += step.sent.says.iter().filter(|m| fields(m).is_some()).count() as u64;
            done.broken += u64::from(step.sent.broken);
            done.repeated += u64::from(step.sent.says.is_empty() && !step.sent.broken);
            progress.set((done.messages, false));
        }
        progress.set((done.messages, true));
        Ok(())
    };
    let (fed, acknowledged) = tokio::join!(feed, collect(&mut events, &progress));
    let _ = client.try_disconnect_now();
    fed.map(|()| Published { acknowledged, ..done })
}

fn open(target: &Target) -> Result<(AsyncClient, EventLoop), PublishError> {
    let mut options = MqttOptions::new(target.client_id.clone(), Broker::tcp(target.host.clone(), target.port));
    options.set_clean_start(true).set_request_channel_capacity(LAB_MQTT_QUEUE_MAX);
    if let Some((user, password)) = &target.credentials {
        options.set_credentials(user.clone(), password.clone().into_bytes());
    }
    AsyncClient::builder(options).try_build().map_err(|e| PublishError::Client(e.to_string()))
}

/// Turns the connection until all that was published is acknowledged; a broker that is away is asked again.
async fn collect(events: &mut EventLoop, progress: &Cell<(u64, bool)>) -> u64 {
    let mut acknowledged = 0;
    loop {
        let (published, all) = progress.get();
        if all && acknowledged >= published {
            return acknowledged;
        }
        match tokio::time::timeout(AGAIN, events.poll()).await {
            Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => acknowledged += 1,
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(e)) => {
                tracing::warn!("The broker cannot be used, trying again: {e}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Writes messages of the profile `wardline-json`.
struct Writer {
    /// Never used twice by a device, not even after a restart: it begins with the time.
    id: u64,
    last: Option<(String, String)>,
}

impl Writer {
    /// Topic and text. `None`: the profile has no field for any of it.
    fn message(&mut self, step: &Step<'_>, time: &str) -> Option<(String, String)> {
        let topic = format!("vitals/{}", device_name(step.tool, step.patient.number));
        if step.sent.broken {
            self.id += 1;
            return Some((topic, format!(r#"{{"id":{},"time":"{time}","systolic":1"#, self.id)));
        }
        if step.sent.says.is_empty() {
            return self.last.clone().filter(|(last, _)| *last == topic);
        }
        let said: Vec<String> = step.sent.says.iter().filter_map(fields).collect();
        if said.is_empty() {
            return None;
        }
        self.id += 1;
        let text = format!(r#"{{"id":{},"time":"{time}",{}}}"#, self.id, said.join(","));
        self.last = Some((topic, text));
        self.last.clone()
    }
}

/// A reading as fields of a message. `None`: the profile has none for it, or there is no number.
fn fields(m: &Measured) -> Option<String> {
    let names: &[&str] = match m.vital {
        "heart-rate" => &["heart_rate"],
        "pulse-rate" | "oximeter-pulse-rate" => &["pulse_rate"],
        "spo2" => &["spo2"],
        "perfusion-index" => &["perfusion_index"],
        "blood-pressure" => &["systolic", "diastolic", "mean"],
        "body-temperature" => &["temperature"],
        "body-weight" => &["weight"],
        "glucose-capillary-whole-blood" => &["glucose"],
        _ => return None,
    };
    if m.numbers.iter().all(Option::is_none) {
        return None;
    }
    let mut text = String::new();
    for (name, number) in names.iter().zip(&m.numbers) {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = match number {
            Some(n) => write!(text, r#"{comma}"{name}":{n}"#),
            None => write!(text, r#"{comma}"{name}":null"#),
        };
    }
    if let ["temperature" | "weight" | "glucose"] = names {
        let _ = write!(text, r#","{}_unit":"{}""#, names.first()?, m.unit);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::lab::patient::HOUR;
    use crate::lab::ward::Tempo;
    use crate::profile::{Catalogue, Decoder};
    use crate::reading::{Frame, Path};

    #[test]
    fn what_is_published_is_what_the_profile_reads() {
        let tempo = Tempo { life: HOUR * 6..HOUR * 22, real: Duration::from_secs(960), strap: HOUR, oximeter: HOUR };
        let (mut play, _) = Ward::new(1, 12).play(tempo, Stamp::at_ms(1_795_341_600_000));
        let mut decoder = Decoder::new(std::sync::Arc::new(Catalogue::built_in()));
        let mut writer = Writer { id: 1, last: None };
        let (mut whole, mut broken, mut repeated) = (0, 0, 0);
        while let Some(step) = play.advance() {
            let Some((topic, text)) = writer.message(&step, "2026-11-22T10:00:00Z") else { continue };
            let name = topic.strip_prefix("vitals/").map(|d| format!("mqtt:{d}"));
            let received = Stamp::at_ms(1_795_341_700_000);
            let frame = Frame { path: Path::Topic(topic.into()), ..Frame::new("x", text.clone(), received) };
            match decoder.decode(&frame) {
                Ok(decoded) => {
                    assert!(!step.sent.broken, "{text}");
                    assert_eq!(Some(decoded.device.0.to_string()), name);
                    let expected = step.sent.says.iter().filter(|m| fields(m).is_some()).count();
                    let again = step.sent.says.is_empty();
                    assert!(again || decoded.drafts.len() == expected, "{text}: {:?}", decoded.drafts);
                    whole += 1;
                    repeated += u32::from(again);
                }
                Err(e) => {
                    assert!(step.sent.broken, "{text}: {e}");
                    broken += 1;
                }
            }
        }
        assert!(whole > 300 && broken >= 1 && repeated >= 1, "{whole} {broken} {repeated}");
    }

    #[test]
    fn addresses() {
        let t = Target::parse("mqtt://127.0.0.1:1884").unwrap();
        assert_eq!((t.host.as_str(), t.port), ("127.0.0.1", 1884));
        assert_eq!(Target::parse("mqtt://broker").unwrap().port, 1883);
        for bad in ["127.0.0.1:1883", "mqtt://", "mqtt://a:b", "mqtts://a", "mqtt://u@h"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
