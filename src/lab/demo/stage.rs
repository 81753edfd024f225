//! The stage of the demonstration: a folder that goes away, a ward with a script, and a configuration for both.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Settings;
use crate::config::Config;
use crate::journal::Key;
use crate::lab::patient::{Episode, HOUR, Kind};
use crate::lab::ward::{Tempo, Ward};

/// Name of the destination.
pub(super) const CENTRE: &str = "centre";
/// The part of the patients' day that is played.
const DAY: std::ops::Range<Duration> = Duration::from_secs(6 * 3_600)..Duration::from_secs(22 * 3_600);
/// How often a strap reports, in real time: enough for a backlog that is worth draining.
const STRAP_EVERY: Duration = Duration::from_millis(60);
/// How often a worn oximeter reports, in real time: its clock shows whole seconds.
const OXIMETER_EVERY: Duration = Duration::from_millis(1_050);

/// Everything the demonstration needs on disk, gone when dropped.
pub(super) struct Stage {
    pub(super) ward: Ward,
    pub(super) config: Config,
    port: u16,
    _folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Stage {
    pub(super) fn set(settings: &Settings, centre: &str) -> std::io::Result<Self> {
        let folder = folder()?;
        let port = if settings.port == 0 { free_port()? } else { settings.port };
        let zone = jiff::tz::TimeZone::system();
        let zone = zone.iana_name().unwrap_or("UTC");
        let text = format!(
            include_str!("demo.toml"),
            state = quoted(&folder.0),
            key = quoted(&key_file(&folder.0)?),
            control = quoted(&folder.0.join("control.sock")),
            status = quoted(&folder.0.join("status.sock")),
            zone = zone,
            port = port,
            centre = CENTRE,
            url = centre
        );
        let mut config = Config::parse(&text, &folder.0.join("demo.toml")).map_err(std::io::Error::other)?;
        let ward = script(settings);
        config.patients = ward.patient_settings();
        config.devices = ward.device_settings();
        Ok(Self { ward, config, port, _folder: folder })
    }

    pub(super) fn page(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// A key of its own, gone with the folder.
fn key_file(folder: &Path) -> std::io::Result<PathBuf> {
    let file = folder.join("journal-key");
    let key = Key::generate().map_err(std::io::Error::other)?;
    let mut open = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&file)?;
    open.write_all(key.reveal().as_bytes())?;
    Ok(file)
}

/// As a TOML string: a folder may have any name.
fn quoted(path: &Path) -> String {
    serde_json::to_string(&path.to_string_lossy()).unwrap_or_default()
}

fn folder() -> std::io::Result<Folder> {
    let base = std::env::temp_dir();
    let mut last = std::io::Error::other("no free name");
    for n in 0..100u32 {
        let path = base.join(format!("wardline-demo-{}-{n}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(Folder(path)),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Who falls ill, and when: the crisis comes in the middle of the outage.
fn script(settings: &Settings) -> Ward {
    let at = |share: f64| DAY.start + (DAY.end - DAY.start).mul_f64(share);
    let episode = |kind, share| Episode { kind, start: at(share), length: HOUR * 3 };
    Ward::new(settings.seed, settings.patients)
        .with(3, episode(Kind::Fever, 0.12))
        .with(1, episode(Kind::HypertensiveCrisis, 0.42))
        .with(5, episode(Kind::Desaturation, 0.72))
}

/// The whole day in `length`.
pub(super) fn tempo(length: Duration) -> Tempo {
    let speed = (DAY.end - DAY.start).as_secs_f64() / length.as_secs_f64().max(1.0);
    let (strap, oximeter) = (STRAP_EVERY.mul_f64(speed), OXIMETER_EVERY.mul_f64(speed));
    Tempo { life: DAY, real: length, strap, oximeter }
}
