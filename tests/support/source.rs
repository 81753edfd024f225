//! An MQTT source as the gateway runs it, seen from the gateway's side.

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wardline::clock::Clock;
use wardline::config::{MqttSettings, MqttVersion};
use wardline::reading::Frame;
use wardline::source::mqtt::{self, SourceError};
use wardline::source::{Port, SourceStatus};

use super::within;

/// A source as the gateway runs it, seen from the gateway's side.
pub struct Running {
    pub frames: mpsc::Receiver<Frame>,
    pub kept: mpsc::Sender<u64>,
    pub status: watch::Receiver<SourceStatus>,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), SourceError>>,
}

impl Running {
    pub fn start(settings: MqttSettings) -> Self {
        Self::with(settings, &["vitals/#"], 2_048)
    }

    pub fn with(settings: MqttSettings, filters: &[&str], room: usize) -> Self {
        let (frames_in, frames) = mpsc::channel(room);
        let (kept, kept_out) = mpsc::channel(4_096);
        let (status_in, status) = watch::channel(SourceStatus::default());
        let stop = CancellationToken::new();
        let port =
            Port { frames: frames_in, kept: kept_out, status: status_in, clock: Clock::system(), stop: stop.clone() };
        let filters = filters.iter().map(|f| (*f).into()).collect();
        let task = tokio::spawn(async move { mqtt::run(&settings, "box", filters, port).await });
        Self { frames, kept, status, stop, task }
    }

    pub async fn connected(&mut self) {
        within("a connection", self.status.wait_for(|s| s.connected_since.is_some())).await.unwrap();
    }

    pub async fn trouble(&mut self) -> (&'static str, String) {
        let status = within("trouble", self.status.wait_for(|s| s.trouble.is_some())).await.unwrap();
        let trouble = status.trouble.clone().unwrap();
        (trouble.code, trouble.sentence.to_string())
    }

    pub async fn take(&mut self, n: usize) -> Vec<Frame> {
        let mut taken = vec![];
        while taken.len() < n {
            taken.push(within("a frame", self.frames.recv()).await.expect("the source ended"));
        }
        taken
    }

    pub async fn tell<'a>(&self, frames: impl IntoIterator<Item = &'a Frame>) {
        for frame in frames {
            within("telling", self.kept.send(frame.ticket)).await.unwrap();
        }
    }

    pub async fn acknowledged(&mut self) {
        within("acknowledging", self.status.wait_for(|s| s.outstanding == 0)).await.unwrap();
    }

    /// As a crash would end it.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn end(self) {
        self.stop.cancel();
        within("leaving", self.task).await.unwrap().unwrap();
    }
}

pub fn settings(version: MqttVersion, port: u16) -> MqttSettings {
    let version_text = if version == MqttVersion::V5 { "5" } else { "3.1.1" };
    toml::from_str(&format!("name = 'home'\nurl = 'mqtt://127.0.0.1:{port}'\nversion = '{version_text}'")).unwrap()
}
