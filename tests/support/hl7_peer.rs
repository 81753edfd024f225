//! Receivers of HL7 v2 that others wrote, as `scripts/tools hl7` installs them: `hl7` and `hl7apy` in Python,
//! `node-hl7-server`. Each test gets one of its own on a free port, and it ends with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::fhir_server::tools;
use super::{PATIENCE, free_port, skipped};

/// Which receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The package `hl7`, plain.
    Hl7,
    /// The same over TLS, asking for a client's certificate.
    Hl7Tls,
    /// The first in ISO 8859-1.
    Latin,
    /// `hl7apy`, which validates strictly and answers AE to what is wrong.
    Strict,
    /// `node-hl7-server`.
    Node,
}

/// A running receiver; killed when dropped. What it got stays when it is started again.
pub struct Peer {
    pub port: u16,
    kind: Kind,
    folder: PathBuf,
    child: Option<Child>,
    got: Arc<Mutex<Vec<Value>>>,
}

fn python() -> PathBuf {
    tools().join("hl7/bin/python")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hl7").join(name)
}

/// What hl7apy finds wrong with these files: a line of JSON each. `None`, said loudly: it is not installed.
pub fn validate(files: &[PathBuf]) -> Option<Vec<Value>> {
    if !python().exists() {
        skipped("hl7apy is not installed: run scripts/tools hl7");
        return None;
    }
    let output = Command::new(python()).arg(script("peer.py")).arg("validate").args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

impl Peer {
    /// Starts one; `folder` holds certificates. `None`, said loudly: it is not installed.
    pub fn start(kind: Kind, folder: &Path) -> Option<Self> {
        let program = if kind == Kind::Node { tools().join("hl7-node/node") } else { python() };
        if !program.exists() {
            skipped(&format!("{kind:?} is not installed: run scripts/tools hl7"));
            return None;
        }
        let mut peer = Self { port: free_port(), kind, folder: folder.into(), child: None, got: Arc::default() };
        peer.revive();
        Some(peer)
    }

    /// Starts it, again after a `kill`, on the same port.
    pub fn revive(&mut self) {
        let port = self.port.to_string();
        let mut command = match self.kind {
            Kind::Node => {
                let mut command = Command::new(tools().join("hl7-node/node"));
                command.arg(script("peer.mjs")).arg(tools());
                command
            }
            kind => {
                let mut command = Command::new(python());
                command.arg(script("peer.py")).arg(match kind {
                    Kind::Hl7Tls => "hl7tls",
                    Kind::Latin => "hl7latin",
                    Kind::Strict => "hl7apy",
                    _ => "hl7",
                });
                command
            }
        };
        command.arg(port);
        if self.kind != Kind::Node {
            command.arg(&self.folder);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (output, got) = (child.stdout.take().unwrap(), self.got.clone());
        self.child = Some(child);
        let (tell, ready): (_, Receiver<()>) = sync_channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(message) => got.lock().unwrap().push(message),
                    Err(_) if line == "ready" => drop(tell.try_send(())),
                    Err(_) => eprintln!("{line}"),
                }
            }
        });
        ready.recv_timeout(PATIENCE).expect("the receiver listens");
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Every message that it got, in order.
    pub fn got(&self) -> Vec<Value> {
        self.got.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}
