//! `wardline relay` of the built binary, with a configuration and a folder of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::gateway::http_over_unix;
use super::process::Process;

/// A relay's folder and, while it runs, its process; both end with this handle.
pub struct Relay {
    process: Process,
}

impl Relay {
    /// Between a stream and a FHIR endpoint. `bus` and `destination` are more lines of those tables.
    pub fn new(name: &str, bus_url: &str, fhir: &str, (bus, destination): (&str, &str)) -> Self {
        let process = Process::new("a relay");
        let at = process.folder().display();
        let destination = format!("timeout_s = 2\n{destination}");
        let idempotency = if destination.contains("idempotency") { "" } else { "idempotency = \"conditional-create\"" };
        let text = format!(
            "[relay]\nname = \"{name}\"\ndurable = \"centre\"\nrejected_stream = \"REFUSED\"\nack_wait_s = 5\n\
             status_socket = \"{at}/status.sock\"\n\
             [bus]\nname = \"bus\"\nservers = [\"{bus_url}\"]\nstream = \"WARDLINE\"\n{bus}\n\
             [destination]\nname = \"centre\"\nurl = \"{fhir}\"\n{idempotency}\n{destination}\n"
        );
        std::fs::write(process.folder().join("relay.toml"), text).unwrap();
        Self { process }
    }

    /// Path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.process.folder().join(name)
    }

    /// Starts it and waits for nothing.
    pub fn spawn(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardline"));
        self.process.spawn(command.args(["relay", "--config"]).arg(self.path("relay.toml")));
    }

    /// Starts it and waits until it has reached its stream.
    pub fn start(&mut self) {
        self.spawn();
        let since = Instant::now();
        while !self.get("/readyz").is_some_and(|a| a.starts_with("HTTP/1.1 200")) {
            let ended = self.process.ended();
            assert!(ended.is_none(), "the relay ended: {ended:?}\n{}", self.log());
            assert!(since.elapsed() < PATIENCE, "the relay is not ready\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it in order and gives its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.stop()
    }

    /// A GET of its status socket: head and body.
    pub fn get(&self, path: &str) -> Option<String> {
        http_over_unix(&self.path("status.sock"), path)
    }

    /// How it is.
    pub fn status(&self) -> serde_json::Value {
        let answer = self.get("/status").unwrap_or_default();
        answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
