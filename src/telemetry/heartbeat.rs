//! The outbound sign of life: what a fleet console needs to know of a box behind NAT. No patient data.
//!
//! Must never: hold anything up. A beat that is lost is not repeated; the next one says more.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::config::HeartbeatSettings;

/// One beat. Counts and ages only: adding a field here is adding it to what leaves the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Beat {
    /// Name of the box.
    pub gateway: Arc<str>,
    /// Version of the gateway.
    pub version: &'static str,
    /// Milliseconds since 1970, by the box's clock.
    pub sent_ms: i64,
    /// That clock is plausible.
    pub clock_trusted: bool,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// Items that wait for a destination, all destinations together.
    pub backlog: u64,
    /// Age of the oldest of them, seconds.
    pub oldest_s: u64,
    /// Items that a destination refused.
    pub rejected: u64,
    /// Causes for which something is stuck, by count only.
    pub inbox: usize,
    /// Seal of the newest entry of the chain of custody: kept outside the box, it shows whether the past was rewritten.
    pub custody: Option<String>,
    /// Open alerts, by count only.
    pub open_alerts: usize,
    /// Sources and destinations that are down, by name.
    pub down: Vec<Arc<str>>,
    /// Parts that make no progress.
    pub stalled: Vec<&'static str>,
}

/// Sends a beat every `every_s` until `stop`. `client` is built by `sink/http.rs`; `beat` is asked each time.
pub async fn run<F, B>(client: reqwest::Client, settings: HeartbeatSettings, beat: F, stop: CancellationToken)
where
    F: Fn() -> B,
    B: Future<Output = Beat>,
{
    let every = Duration::from_secs(settings.every_s);
    let mut turn = tokio::time::interval(every);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut well = true;
    loop {
        tokio::select! {
            _ = turn.tick() => {}
            () = stop.cancelled() => return,
        }
        let beating = async { send(&client, &settings.url, &beat().await, every).await };
        let sent = tokio::select! {
            sent = beating => sent,
            () = stop.cancelled() => return,
        };
        metrics::counter!("wardline_heartbeats_total", "ok" => if sent.is_ok() { "yes" } else { "no" }).increment(1);
        // Said once when it changes, not once a minute through an outage.
        match (&sent, well) {
            (Err(why), true) => tracing::warn!(code = "WL-O014", why, "The heartbeat does not get through."),
            (Ok(()), false) => tracing::info!("The heartbeat gets through again."),
            _ => {}
        }
        well = sent.is_ok();
    }
}

async fn send(client: &reqwest::Client, url: &str, beat: &Beat, within: Duration) -> Result<(), String> {
    let body = serde_json::to_vec(beat).map_err(|e| e.to_string())?;
    let request = client.post(url).timeout(within).header("content-type", "application/json").body(body);
    // Without the URL: it may hold a token.
    let response = request.send().await.map_err(|e| e.without_url().to_string())?;
    if response.status().is_success() { Ok(()) } else { Err(format!("HTTP status {}", response.status().as_u16())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_says_counts_and_ages_and_nothing_else() {
        let beat = Beat {
            gateway: "box-1".into(),
            version: "0.1.0",
            sent_ms: 1,
            clock_trusted: true,
            uptime_s: 2,
            backlog: 3,
            oldest_s: 4,
            rejected: 5,
            inbox: 1,
            custody: None,
            open_alerts: 6,
            down: vec!["centre".into()],
            stalled: vec![],
        };
        let json = serde_json::to_value(&beat).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        // A new field is looked at by a person: does it say anything about a patient?
        let mut known = [
            "gateway",
            "version",
            "sent_ms",
            "clock_trusted",
            "uptime_s",
            "backlog",
            "oldest_s",
            "rejected",
            "inbox",
            "open_alerts",
            "custody",
            "down",
            "stalled",
        ];
        known.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, known);
    }
}
