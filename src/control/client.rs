//! The CLI's end of the control socket.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest::{Context, SHA256};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Problem;
use super::view::{Copy, EXPORT_SAID, Exported};
use crate::fault::Explain;
use crate::limits;

/// The gateway's own limit for an answer is 5 s; give it that and a little.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// Decisions about large groups, and probes of slow destinations.
const LONG_ANSWER_MAX: Duration = Duration::from_secs(180);

/// Header of a backup: what it holds.
pub(super) const COPY: &str = "wardline-copy";

/// Why a command got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Start the gateway, or name its socket.
    #[error("no gateway answers at {0}")]
    NotRunning(PathBuf),
    /// Become root, or a member of the socket's group.
    #[error("this user may not use {0}")]
    NotPermitted(PathBuf),
    /// Free space, or name another file.
    #[error("{0}: {1}")]
    File(PathBuf, String),
    /// The gateway said no, with its own code.
    #[error("{}", .0.cause)]
    Refused(Problem),
    /// Use the command line of the same version.
    #[error("the gateway's answer is not understood: {0}")]
    NotUnderstood(String),
}

impl ClientError {
    /// `code: cause. remedy` in one line; a refusal keeps the gateway's own code and remedy.
    pub fn sentence(&self) -> String {
        match self {
            Self::Refused(p) => format!("{}: {}. {}", p.code, p.cause, p.remedy),
            other => crate::fault::sentence(other),
        }
    }
}

impl Explain for ClientError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotRunning(_) => "WL-O001",
            Self::NotPermitted(_) => "WL-O002",
            Self::Refused(_) => "WL-O010",
            Self::NotUnderstood(_) => "WL-O011",
            Self::File(..) => "WL-O016",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::NotRunning(_) => {
                "Start it (`systemctl start wardline`, or `wardline run`), or name its socket with --socket."
            }
            Self::NotPermitted(_) => "Use sudo, or become a member of the group `wardline`.",
            Self::Refused(_) => "See the gateway's own message.",
            Self::File(..) => "Name a new file in a folder that you can write to.",
            Self::NotUnderstood(_) => "Use the command line and the gateway of the same version.",
        }
    }
}

/// A connection to a running gateway.
pub struct Client {
    socket: PathBuf,
    http: reqwest::Client,
}

impl Client {
    /// For this control socket; nothing is connected yet.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        Self::within(socket, ANSWER_MAX)
    }

    /// For this control socket, and questions that take the gateway minutes.
    pub fn patient(socket: &Path) -> Result<Self, ClientError> {
        Self::within(socket, LONG_ANSWER_MAX)
    }

    /// For this control socket, and an answer that comes piece by piece for so long.
    pub fn listening(socket: &Path, length: Duration) -> Result<Self, ClientError> {
        Self::within(socket, length + ANSWER_MAX)
    }

    fn within(socket: &Path, answer_max: Duration) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .timeout(answer_max)
            .no_proxy()
            // Nothing here is encrypted: a machine without CA certificates must not matter.
            .tls_certs_only(std::iter::empty())
            .build()
            .map_err(|e| ClientError::NotUnderstood(e.to_string()))?;
        Ok(Self { socket: socket.into(), http })
    }

    /// Asks; `path` begins with `/v1/`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, ClientError> {
        self.answer(self.http.get(url(path, query)?)).await
    }

    /// Commands.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.post_with(path, &[], body).await
    }

    /// Commands with a question.
    pub async fn post_with<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let url = url(path, query)?;
        let body = serde_json::to_vec(body).map_err(|e| ClientError::NotUnderstood(e.to_string()))?;
        self.answer(self.http.post(url).header("content-type", "application/json").body(body)).await
    }

    /// An order whose answer comes piece by piece; `take` is given each as it comes.
    pub async fn listen(
        &self,
        path: &str,
        body: &impl Serialize,
        mut take: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| ClientError::NotUnderstood(e.to_string()))?;
        let request = self.http.post(format!("http://wardline{path}")).header("content-type", "application/json");
        let mut response = request.body(body).send().await.map_err(|e| self.unreachable(&e))?;
        if !response.status().is_success() {
            return understood::<serde::de::IgnoredAny>(response).await.map(drop);
        }
        while let Some(piece) = response.chunk().await.map_err(|e| ClientError::NotUnderstood(e.to_string()))? {
            take(&piece)?;
        }
        Ok(())
    }

    /// A copy of the journal into a new file, for this user alone; whole and synced, or not there.
    pub async fn backup(&self, to: &Path) -> Result<Copy, ClientError> {
        let fail = |e: std::io::Error| ClientError::File(to.into(), e.to_string());
        let mut response = self.http.get("http://wardline/v1/backup").send().await.map_err(|e| self.unreachable(&e))?;
        let held = response.headers().get(COPY).and_then(|h| serde_json::from_slice::<Copy>(h.as_bytes()).ok());
        let Some(held) = held else { return understood(response).await };
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(to).map_err(fail)?;
        let (mut all, mut left) = (Context::new(&SHA256), held.bytes);
        let written = async {
            while let Some(piece) = response.chunk().await.map_err(|e| ClientError::NotUnderstood(e.to_string()))? {
                let more = || ClientError::NotUnderstood("the copy does not end".into());
                left = left.checked_sub(piece.len() as u64).ok_or_else(more)?;
                all.update(&piece);
                file.write_all(&piece).map_err(fail)?;
            }
            let whole = all.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect::<String>();
            if whole != held.sha256 {
                return Err(ClientError::NotUnderstood("the copy was cut".into()));
            }
            file.sync_all().map_err(fail)
        };
        match written.await {
            Ok(()) => Ok(held),
            Err(e) => {
                let _ = std::fs::remove_file(to);
                Err(e)
            }
        }
    }

    /// Readings for analysis into a new file, for this user alone; whole and synced, or not there. Answers what it holds, and
    /// what it does not.
    pub async fn export(&self, query: &[(&str, String)], to: &Path) -> Result<Exported, ClientError> {
        let fail = |e: std::io::Error| ClientError::File(to.into(), e.to_string());
        let cut = || ClientError::NotUnderstood("the export was cut".into());
        let mut response = self.http.get(url("/v1/export", query)?).send().await.map_err(|e| self.unreachable(&e))?;
        if !response.status().is_success() {
            return understood(response).await;
        }
        if to.exists() {
            return Err(fail(std::io::ErrorKind::AlreadyExists.into()));
        }
        let mut part = to.as_os_str().to_owned();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&part).map_err(fail)?;
        let written = async {
            // Behind the lines, what is said of them.
            let mut said: Option<Vec<u8>> = None;
            while let Some(piece) = response.chunk().await.map_err(|e| ClientError::NotUnderstood(e.to_string()))? {
                if let Some(said) = &mut said {
                    said.extend_from_slice(&piece);
                    if said.len() > limits::CONTROL_ANSWER_BYTES_MAX {
                        return Err(cut());
                    }
                    continue;
                }
                let mut halves = piece.splitn(2, |octet| *octet == EXPORT_SAID);
                file.write_all(halves.next().unwrap_or_default()).map_err(fail)?;
                said = halves.next().map(<[u8]>::to_vec);
            }
            let said = serde_json::from_slice(&said.ok_or_else(cut)?).map_err(|_| cut())?;
            file.sync_all().map_err(fail)?;
            std::fs::rename(&part, to).map_err(fail)?;
            Ok(said)
        };
        let written = written.await;
        if written.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        written
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ClientError> {
        understood(request.send().await.map_err(|e| self.unreachable(&e))?).await
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(e) = cause {
            if let Some(io) = e.downcast_ref::<std::io::Error>() {
                match io.kind() {
                    std::io::ErrorKind::PermissionDenied => return ClientError::NotPermitted(self.socket.clone()),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => break,
                    _ => {}
                }
            }
            cause = e.source();
        }
        ClientError::NotRunning(self.socket.clone())
    }
}

/// An address below the control socket.
fn url(path: &str, query: &[(&str, String)]) -> Result<reqwest::Url, ClientError> {
    let mut url = reqwest::Url::parse("http://wardline").map_err(|e| ClientError::NotUnderstood(e.to_string()))?;
    url.set_path(path);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

/// The answer, or what the gateway says is wrong.
async fn understood<T: DeserializeOwned>(mut response: reqwest::Response) -> Result<T, ClientError> {
    let not_understood = |e: String| ClientError::NotUnderstood(e);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| not_understood(e.to_string()))? {
        body.extend_from_slice(&chunk);
        if body.len() > limits::CONTROL_ANSWER_BYTES_MAX {
            return Err(not_understood("it is too long".into()));
        }
    }
    if response.status().is_success() {
        return serde_json::from_slice(&body).map_err(|e| not_understood(e.to_string()));
    }
    Err(match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => ClientError::Refused(problem),
        Err(_) => not_understood(format!("HTTP status {}", response.status().as_u16())),
    })
}
