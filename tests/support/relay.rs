//! `wardline relay` of the built binary, with a configuration and a folder of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::gateway::http_over_unix;

/// A relay's folder and, while it runs, its process; both end with this handle.
pub struct Relay {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Relay {
    /// Between a stream and a FHIR endpoint. `bus` and `destination` are more lines of those tables.
    pub fn new(name: &str, bus_url: &str, fhir: &str, (bus, destination): (&str, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let destination = format!("timeout_s = 2\n{destination}");
        let idempotency = if destination.contains("idempotency") { "" } else { "idempotency = \"conditional-create\"" };
        let text = format!(
            "[relay]\nname = \"{name}\"\ndurable = \"centre\"\nrejected_stream = \"REFUSED\"\nack_wait_s = 5\n\
             status_socket = \"{at}/status.sock\"\n\
             [bus]\nname = \"bus\"\nservers = [\"{bus_url}\"]\nstream = \"WARDLINE\"\n{bus}\n\
             [destination]\nname = \"centre\"\nurl = \"{fhir}\"\n{idempotency}\n{destination}\n"
        );
        std::fs::write(folder.path().join("relay.toml"), text).unwrap();
        Self { folder, child: None }
    }

    /// Path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts it and waits for nothing.
    pub fn spawn(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_wardline"))
            .args(["relay", "--config"])
            .arg(self.path("relay.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Starts it and waits until it has reached its stream.
    pub fn start(&mut self) {
        self.spawn();
        let since = Instant::now();
        while !self.get("/readyz").is_some_and(|a| a.starts_with("HTTP/1.1 200")) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the relay ended: {ended:?}\n{}", self.log());
            assert!(since.elapsed() < PATIENCE, "the relay is not ready\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in order and gives its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        child.wait().unwrap().code()
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
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- a relay's log ---\n{}", self.log());
        }
    }
}
