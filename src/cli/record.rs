//! `wardline devices record`: what a device sends, into a file for whoever looks for the defect.
#![allow(clippy::print_stdout)]

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::remote::Remote;
use crate::capture::{self, Capture, Kind, Line};
use crate::clock::{Clock, Stamp};
use crate::control::client::ClientError;
use crate::control::radio;
use crate::limits::{CAPTURE_BYTES_MAX, CAPTURE_DEFAULT, CAPTURE_LONGEST};
use crate::reading::DeviceId;

/// Arguments of `wardline devices record`.
#[derive(clap::Args)]
pub(super) struct Record {
    /// A known device: ble:C0:26:DF:00:11:22.
    device: String,
    /// A new file, which only you can read; without it one with the time in its name, here.
    file: Option<PathBuf>,
    /// How long at most: 90s, 10m, 1h. Ctrl-C ends it before.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    length: Option<Duration>,
    #[command(flatten)]
    remote: Remote,
}

const WARNING: &str = "\
The file holds what the device measures: health data, though without a name. Address, serial number, patient and owner are
left out. Give it only to those who may see it, and delete it when the defect is found.";

/// `90s`, `10m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("a number with s, m or h: 90s, 10m, 1h".into()),
    };
    let number: u64 = number.parse().map_err(|_| "a number with s, m or h: 90s, 10m, 1h".to_owned())?;
    let length = Duration::from_secs(number.saturating_mul(seconds));
    if length.is_zero() || length > CAPTURE_LONGEST { Err("1s to 1h".into()) } else { Ok(length) }
}

/// The file, made when the gateway has agreed.
struct File {
    path: PathBuf,
    file: Option<std::fs::File>,
    bytes: usize,
    /// Nothing after the last whole line.
    whole: bool,
}

impl File {
    fn fail(&self, e: &std::io::Error) -> ClientError {
        ClientError::File(self.path.clone(), e.to_string())
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), ClientError> {
        self.bytes += piece.len();
        if self.bytes > CAPTURE_BYTES_MAX {
            return Err(ClientError::NotUnderstood("the capture does not end".into()));
        }
        if self.file.is_none() {
            let made = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&self.path);
            self.file = Some(made.map_err(|e| self.fail(&e))?);
        }
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        let written = file.write_all(piece);
        self.whole = piece.ends_with(b"\n");
        written.map_err(|e| self.fail(&e))
    }

    /// Ended by us: a line that is not whole is left as it is, and the file says so.
    fn end(&mut self, since: Stamp, clock: &Clock) -> Result<(), ClientError> {
        let ms = u64::try_from(clock.now().since(since).as_millis()).unwrap_or(u64::MAX);
        if self.file.is_some() && self.whole {
            self.take(Line::end(ms, "the person who recorded ended it").to_json().as_bytes())?;
        }
        Ok(())
    }
}

pub(super) fn record(record: &Record) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    let began = clock.now();
    let named = || format!("capture-{}.jsonl", began.timestamp().strftime("%Y%m%d-%H%M%S")).into();
    let path: PathBuf = record.file.clone().unwrap_or_else(named);
    anyhow::ensure!(!path.exists(), "WL-O016: {} is there already. Name a new file.", path.display());
    let length = record.length.unwrap_or(CAPTURE_DEFAULT);
    let order = radio::Record { device: DeviceId(record.device.as_str().into()), seconds: length.as_secs() };
    if !record.remote.json {
        println!("{WARNING}\n");
        println!("Recording {} for {} s at most; Ctrl-C ends it. Now use the device.", record.device, length.as_secs());
    }
    let mut file = File { path: path.clone(), file: None, bytes: 0, whole: false };
    record.remote.listen(length, async |client| {
        tokio::select! {
            ended = client.listen("/v1/bluetooth/record", &order, |piece| file.take(piece)) => ended?,
            () = super::demo::told_to_stop() => file.end(began, &clock)?,
        }
        match &file.file {
            Some(made) => made.sync_all().map_err(|e| ClientError::File(file.path.clone(), e.to_string())),
            None => Err(ClientError::NotUnderstood("nothing came of it".into())),
        }
    })?;
    let capture = open(&path)?;
    report(record, &path, &capture);
    Ok(ExitCode::SUCCESS)
}

/// Reads a capture.
pub(super) fn open(path: &Path) -> anyhow::Result<Capture> {
    let read = std::fs::File::open(path).map_err(capture::CaptureError::Unreadable).and_then(capture::read);
    read.map_err(|e| anyhow::anyhow!("{}: {}", path.display(), crate::fault::sentence(&e)))
}

fn report(record: &Record, path: &Path, capture: &Capture) {
    let count = |kinds: &[Kind]| capture.lines.iter().filter(|line| kinds.contains(&line.kind)).count();
    let (heard, connected) = (count(&[Kind::Heard]), count(&[Kind::Connected]));
    let values = capture.lines.iter().filter(|line| line.is_value()).count();
    let ended = capture.lines.last().filter(|line| line.kind == Kind::End).and_then(|line| line.why.clone());
    if record.remote.json {
        let said = serde_json::json!({
            "file": path, "heard": heard, "connections": connected, "values": values, "ended": ended,
        });
        println!("{said}");
        return;
    }
    println!("\n{}: {heard} advertisements, {connected} connections, {values} values.", path.display());
    println!("It ended: {}.", ended.as_deref().unwrap_or("the gateway or its answer broke off"));
    if heard + connected + values == 0 {
        println!("Nothing was heard of it. Is it awake, and near?");
    }
    println!(
        "\nHealth data without a name: see above. What this version makes of it: wardline replay {}",
        path.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_an_end() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        for text in ["", "10", "0s", "2h", "-1m", "1é", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
