//! A real token server, oidc-provider, as `scripts/tools` installs it: with clients that a test registers while it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::fhir_server::tools;

/// Whom its tokens are for.
pub const AUDIENCE: &str = "https://fhir.example";

/// A running token server; killed when dropped.
pub struct TokenServer {
    /// Where tokens are given.
    pub url: String,
    /// Its name, and the base of its other addresses.
    pub issuer: String,
    port: u16,
    ttl: u64,
    child: Option<Child>,
    folder: tempfile::TempDir,
    clients: BTreeMap<String, Value>,
}

impl TokenServer {
    /// Starts one whose tokens live so many seconds. `None`, said loudly: it is not installed.
    pub async fn start(ttl: u64) -> Option<Self> {
        if !module().exists() {
            super::skipped("oidc-provider is not installed: run scripts/tools oidc");
            return None;
        }
        let (folder, port) = (tempfile::tempdir().unwrap(), super::free_port());
        let issuer = format!("http://127.0.0.1:{port}");
        let url = format!("{issuer}/token");
        let mut server = Self { url, issuer, port, ttl, child: None, folder, clients: BTreeMap::new() };
        server.write();
        server.revive().await;
        Some(server)
    }

    /// Starts it, again on the same port.
    pub async fn revive(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new(tools().join("oidc/node"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/token_server.mjs"))
            .env("MODULE", module())
            .env("PORT", self.port.to_string())
            .env("CLIENTS", self.folder.path().join("clients.json"))
            .env("AUDIENCE", AUDIENCE)
            .env("TTL", self.ttl.to_string())
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("oidc-provider does not start: {}", self.log());
    }

    /// Ends it at once. What it remembered of used assertions is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Registers a client with the public keys that were handed over, or changes it.
    pub fn register(&mut self, id: &str, jwks: &str, scope: &str) {
        let jwks: Value = serde_json::from_str(jwks).unwrap();
        self.clients.insert(id.into(), json!({ "jwks": jwks, "scope": scope }));
        self.write();
    }

    /// The same with the address at which the public keys are served.
    pub fn register_at(&mut self, id: &str, jwks_uri: &str, scope: &str) {
        self.clients.insert(id.into(), json!({ "jwks_uri": jwks_uri, "scope": scope }));
        self.write();
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn write(&self) {
        let part = self.folder.path().join("part");
        std::fs::write(&part, serde_json::to_string(&self.clients).unwrap()).unwrap();
        std::fs::rename(part, self.folder.path().join("clients.json")).unwrap();
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn module() -> PathBuf {
    tools().join("oidc/node_modules/oidc-provider")
}
