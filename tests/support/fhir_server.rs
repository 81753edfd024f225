//! Two real FHIR servers that disagree about much: helios-hfs and sekmet-fhir, as `scripts/tools` installs them.
//! Each test gets one of its own on a free port, with an empty store, and it ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Helios,
    Sekmet,
}

/// A running server; killed when dropped.
pub struct FhirServer {
    pub url: String,
    kind: Kind,
    port: u16,
    child: Child,
    folder: tempfile::TempDir,
    client: reqwest::Client,
    environment: Vec<(String, String)>,
    /// The test's own token, where the server wants one.
    pub bearer: Option<String>,
}

/// Where `scripts/tools` installs.
pub fn tools() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    cache.unwrap_or_else(home).join("wardline/tools")
}

impl FhirServer {
    /// Starts one. `None`, said loudly: it is not installed.
    pub async fn start(kind: Kind) -> Option<Self> {
        Self::start_with(kind, vec![]).await
    }

    /// The same with more variables in its environment.
    pub async fn start_with(kind: Kind, environment: Vec<(String, String)>) -> Option<Self> {
        let program = match kind {
            Kind::Helios => tools().join("helios-hfs-0.2.7/bin/hfs"),
            Kind::Sekmet => tools().join("sekmet/bin/sekmet"),
        };
        if !program.exists() {
            super::skipped(&format!("{kind:?} is not installed: run scripts/tools"));
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        if kind == Kind::Helios {
            std::fs::copy(tools().join("helios-hfs-0.2.7/seed.db"), folder.path().join("fhir.db")).unwrap();
        }
        let port = super::free_port();
        let base = if kind == Kind::Sekmet { "/fhir" } else { "" };
        let url = format!("http://127.0.0.1:{port}{base}");
        let client =
            wardline::sink::http::Peer::new(&url, wardline::tls::Files::default(), super::PATIENCE).unwrap().client;
        // Nothing that can fail stands between its start and the guard that ends it.
        let child = launch(kind, &program, port, folder.path(), &environment);
        let server = Self { url, kind, port, child, folder, client, environment, bearer: None };
        server.ready().await;
        Some(server)
    }

    async fn ready(&self) {
        let metadata = format!("{}/metadata", self.url);
        for _ in 0..1_200 {
            match self.client.get(&metadata).send().await {
                Ok(answer) if answer.status().is_success() => return,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("{:?} does not start: {log}", self.kind);
    }

    /// Ends it at once; what it stored stays.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port, with what it stored.
    pub async fn revive(&mut self) {
        let program = match self.kind {
            Kind::Helios => tools().join("helios-hfs-0.2.7/bin/hfs"),
            Kind::Sekmet => tools().join("sekmet/bin/sekmet"),
        };
        self.child = launch(self.kind, &program, self.port, self.folder.path(), &self.environment);
        self.ready().await;
    }

    fn admitted(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Stores a resource under its id.
    pub async fn put(&self, resource: &Value) {
        let url =
            format!("{}/{}/{}", self.url, resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        let body = serde_json::to_vec(resource).unwrap();
        let answer = self.admitted(self.client.put(url).header("content-type", "application/fhir+json").body(body));
        let answer = answer.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Deletes a resource, as somebody there might.
    pub async fn delete(&self, path: &str) {
        let answer = self.admitted(self.client.delete(format!("{}/{path}", self.url))).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// All resources that a search finds, page by page.
    pub async fn search(&self, query: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut next = Some(format!("{}/{query}", self.url));
        while let Some(url) = next.take() {
            let answer = self.admitted(self.client.get(&url)).send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert!(status.is_success(), "{url}: {text}");
            let bundle: Value = serde_json::from_str(&text).unwrap();
            let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
            found.extend(
                entries.into_iter().filter(|e| e["search"]["mode"] != "outcome").map(|e| e["resource"].clone()),
            );
            let links = bundle["link"].as_array().cloned().unwrap_or_default();
            // The server's idea of its own address may be another one.
            let link = links.iter().find(|l| l["relation"] == "next").and_then(|l| l["url"].as_str());
            next = link.and_then(|url| url.rsplit('/').next()).map(|query| format!("{}/{query}", self.url));
        }
        found
    }
}

impl Drop for FhirServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(kind: Kind, program: &Path, port: u16, folder: &Path, environment: &[(String, String)]) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut command = Command::new(program);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.current_dir(folder).stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
    match kind {
        Kind::Helios => command
            .env("HFS_VALIDATION_MODE", "enforce")
            .env("HFS_VALIDATION_META_PROFILES", "false")
            .env("HFS_BASE_URL", format!("http://127.0.0.1:{port}"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--database-url", "./fhir.db", "--data-dir"])
            .arg(tools().join("helios-hfs-0.2.7/data")),
        Kind::Sekmet => command.args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()]),
    };
    command.spawn().unwrap()
}
