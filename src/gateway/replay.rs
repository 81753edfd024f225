//! A capture through the whole gateway: decoding, intake, journal, alert rules, delivery into files. A throw-away one.
//!
//! Promises: folder, sockets and journal are its own and gone afterwards; it has one source, which is the capture, and one
//! destination, which is a folder of files; of a configuration it takes profiles, zone, rules and the patient's limits.
//! Must never: open the journal, a socket or a destination of any configuration.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Extra, Options, Running, StartError};
use crate::alarm::Alert;
use crate::capture::Capture;
use crate::clock::{Clock, Stamp};
use crate::config::{Config, DeviceSettings, PatientSettings};
use crate::control::view::{Filter, Row};
use crate::control::{Desk, Unreadable};
use crate::limits;
use crate::profile::{Catalogue, Decoder, ProfileError};
use crate::reading::{DeviceId, Frame, PatientId, Reading};
use crate::source::replay::{self, Progress, Replay};
use crate::source::sim::{self, Emission};
use crate::telemetry;

const DESTINATION: &str = "files";
/// How often it is looked whether all is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How to replay.
pub struct Settings {
    /// Profiles beside the built-in ones.
    pub profiles: Option<PathBuf>,
    /// Zone, rules and limits are taken from it.
    pub config: Option<Config>,
    /// Whose the readings are to be.
    pub patient: PatientId,
    /// So many times as fast as recorded.
    pub speed: u32,
    /// Where the resources go; else into the throw-away folder.
    pub to: Option<PathBuf>,
}

/// Why it cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Name a new or an empty folder.
    #[error("{0} is not empty: what is replayed is not mixed with anything")]
    NotEmpty(PathBuf),
    /// Free space, or set TMPDIR.
    #[error("no folder to replay in: {0}")]
    Folder(#[from] std::io::Error),
    /// See the profile's remedy.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// See its own remedy.
    #[error(transparent)]
    Start(Box<StartError>),
    /// Report it.
    #[error("the gateway of the replay ended: {0}")]
    Ended(String),
}

impl crate::fault::Explain for ReplayError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotEmpty(_) => "WL-S083",
            Self::Folder(_) => "WL-S084",
            Self::Profile(e) => e.code(),
            Self::Start(e) => e.code(),
            Self::Ended(_) => "WL-S085",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::NotEmpty(_) => "Name a folder that is not there yet.",
            Self::Folder(_) => "Make room, or name another folder for temporary files in TMPDIR.",
            Self::Profile(e) => e.remedy(),
            Self::Start(e) => e.remedy(),
            Self::Ended(_) => "Replay it again; if it stays so, report it with the capture.",
        }
    }
}

impl From<Unreadable> for ReplayError {
    fn from(e: Unreadable) -> Self {
        Self::Ended(e.to_string())
    }
}

/// What became of one frame.
pub struct Fate {
    /// Since the start of the recording.
    pub after: Duration,
    /// Characteristic or service.
    pub channel: String,
    /// The bytes, hex.
    pub hex: String,
    /// Readings in the journal; or the code and the reason.
    pub outcome: Result<Vec<Reading>, String>,
    /// Readings that had come before, or are beyond the newest thousand, which are listed.
    pub known: usize,
}

/// What became of a capture.
pub struct Report {
    /// Frame by frame.
    pub fates: Vec<Fate>,
    /// Readings in the journal.
    pub readings: u64,
    /// Readings that are written to the file.
    pub delivered: u64,
    /// Alerts that were raised.
    pub alerts: Vec<Alert>,
    /// The resources, as they were written.
    pub resources: String,
}

/// Replays it.
pub async fn run(capture: &Capture, settings: Settings) -> Result<Report, ReplayError> {
    if let Some(to) = &settings.to
        && std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some())
    {
        return Err(ReplayError::NotEmpty(to.clone()));
    }
    let folder = Folder::new()?;
    let profiles = settings.profiles.clone();
    let profiles = profiles.or_else(|| settings.config.as_ref().and_then(|c| c.gateway.profiles.clone()));
    let catalogue = Arc::new(match &profiles {
        Some(folder) => Catalogue::with_folder(folder)?,
        None => Catalogue::built_in(),
    });
    let to = settings.to.clone().unwrap_or_else(|| folder.0.join("readings"));
    let config = stage(&folder.0, &to, profiles, &settings).map_err(ReplayError::Ended)?;
    let frames = replay::frames(capture, &catalogue);
    let clock = Clock::system();
    let began = clock.now();
    let (feed, progress) = Replay::new(frames.clone(), settings.speed);
    let name: Arc<str> = "capture".into();
    let source = Extra { name: name.clone(), run: Box::new(|port| Box::pin(sim::run(port, name, feed))) };
    let stop = tokio_util::sync::CancellationToken::new();
    let options = Options { clock: clock.clone(), metrics: telemetry::idle_metrics(), configuration: None, stop };
    let running = super::start(config, options, vec![source]).await.map_err(|e| ReplayError::Start(Box::new(e)))?;
    let Running { desk, stop, .. } = &running;
    let (desk, stop) = (desk.clone(), stop.clone());
    let mut ended = Box::pin(running.wait());
    let report = tokio::select! {
        ended = &mut ended => return Err(ReplayError::Ended(ended.err().map_or("stopped".into(), |e| e.to_string()))),
        report = async {
            settle(&desk, &progress, frames.len()).await;
            collect(&desk, &frames, settings.speed, catalogue, began).await
        } => report?,
    };
    stop.cancel();
    ended.await.map_err(|e| ReplayError::Ended(e.to_string()))?;
    Ok(Report { resources: written(&to)?, ..report })
}

/// Waits until every frame is kept, and what is owed is delivered; not for ever.
async fn settle(desk: &Desk, progress: &Progress, frames: usize) {
    while progress.kept() < frames {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let delivered = async {
        while desk.records.outbox(Some(DESTINATION)).is_ok_and(|o| o.iter().any(|o| o.waiting > 0)) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // What is not delivered by then is counted as it is.
    let _ = tokio::time::timeout(limits::REPLAY_SETTLE_MAX, delivered).await;
}

/// A configuration of its own; of the one that was named it has what decides about readings, and nothing that it leads to.
fn stage(folder: &FilePath, to: &FilePath, profiles: Option<PathBuf>, settings: &Settings) -> Result<Config, String> {
    let quoted = |path: &FilePath| serde_json::to_string(&path.to_string_lossy()).unwrap_or_default();
    let text = format!(
        "[gateway]\nid = \"replay\"\nstate = {state}\n[journal]\nunencrypted = true\n\
         [control]\nsocket = {control}\nstatus_socket = {status}\n\
         [[destination]]\nkind = \"ndjson\"\nname = \"{DESTINATION}\"\nconsent = \"enrolment\"\nfolder = {to}\n",
        state = quoted(&folder.join("state")),
        control = quoted(&folder.join("control.sock")),
        status = quoted(&folder.join("status.sock")),
        to = quoted(to),
    );
    let mut config = Config::parse(&text, &folder.join("replay.toml")).map_err(|e| e.to_string())?;
    let of_box = settings.config.as_ref();
    let patient = PatientSettings { reference: settings.patient.clone(), display: None, limits: Vec::new() };
    let known = of_box.and_then(|c| c.patients.iter().find(|p| p.reference == settings.patient).cloned());
    config.patients = vec![known.unwrap_or(patient)];
    let (id, patient) = (DeviceId(replay::DEVICE.into()), Some(settings.patient.clone()));
    config.devices = vec![DeviceSettings { id, patient, slots: BTreeMap::new(), since: None, time_zone: None }];
    config.gateway.profiles = profiles;
    if let Some(of_box) = of_box {
        config.gateway.time_zone.clone_from(&of_box.gateway.time_zone);
        config.alerts = of_box.alerts.clone();
    }
    Ok(config)
}

/// Rows of the journal by the bytes that they came from, each to be taken once.
type ByBytes = HashMap<(String, String), VecDeque<Row>>;

async fn collect(
    desk: &Arc<Desk>,
    frames: &[Emission],
    speed: u32,
    catalogue: Arc<Catalogue>,
    began: Stamp,
) -> Result<Report, ReplayError> {
    let records = desk.records.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let filter = Filter { limit: limits::READINGS_LISTED_MAX, ..Filter::default() };
        let mut rows: ByBytes = HashMap::new();
        // The journal lists the newest first.
        for row in records.readings(&filter)?.into_iter().rev() {
            let explained = records.explain(row.reading.key)?;
            let Some(raw) = explained.and_then(|e| e.frame) else { continue };
            rows.entry((raw.channel, raw.hex.unwrap_or_default().to_lowercase())).or_default().push_back(row);
        }
        let delivered = records.outbox(Some(DESTINATION))?.iter().map(|o| o.delivered).sum();
        let count = records.verify()?.readings;
        Ok::<_, Unreadable>((rows, count, delivered, records.alerts(limits::READINGS_LISTED_MAX)?))
    });
    let (mut rows, readings, delivered, alerts) = asked.await.map_err(|e| ReplayError::Ended(e.to_string()))??;
    let mut decoder = Decoder::new(catalogue);
    let mut fates = Vec::new();
    for frame in frames {
        let hex: String = frame.bytes.iter().map(|octet| format!("{octet:02x}")).collect();
        let channel = frame.path.channel().to_owned();
        let received = began.plus(frame.after / speed.max(1));
        let said =
            decoder.decode(&Frame { path: frame.path.clone(), ..Frame::new("capture", frame.bytes.clone(), received) });
        let here = rows.entry((channel.clone(), hex.clone())).or_default();
        let (outcome, known) = match said {
            Err(reject) => (Err(reject.to_string()), 0),
            Ok(decoded) => {
                let mut taken: Vec<Reading> = Vec::new();
                while taken.len() < decoded.drafts.len()
                    && let Some(row) = here.pop_front()
                {
                    taken.push(row.reading);
                }
                let known = decoded.drafts.len() - taken.len();
                (Ok(taken), known)
            }
        };
        fates.push(Fate { after: frame.after, channel, hex, outcome, known });
    }
    Ok(Report { fates, readings, delivered, alerts, resources: String::new() })
}

/// What stands in the files of a folder, in order.
fn written(folder: &FilePath) -> std::io::Result<String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "ndjson"));
    files.sort();
    files.iter().map(std::fs::read_to_string).collect()
}

/// For one replay, and for nobody else.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let mut last = std::io::Error::other("no free name");
        for n in 0..100u32 {
            let path = std::env::temp_dir().join(format!("wardline-replay-{}-{n}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
