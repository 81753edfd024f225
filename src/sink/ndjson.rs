//! Readings as FHIR Observations in NDJSON files (FHIR Bulk Data format): one line each, for warehouses and air-gapped sites.
//!
//! Promises: Delivered means synced to disk; a line torn by a power cut is cut off at the next start; a line that was
//! written and not settled before a crash is recognised and not written twice. Must never: rewrite a whole line.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::why::Trouble;
use super::{Destination, SinkError, manifest};
use crate::config::{GatewayId, NdjsonSettings};
use crate::custody::{Item, Outcome, Payload, Receipt};
use crate::fhir::{Identity, Scope, write_observation};
use crate::limits;
use crate::reading::Reading;

const PREFIX: &str = "Observation-";
const SUFFIX: &str = ".ndjson";
/// A file that still grows, in the form of a Bulk Data export.
const GROWING: &str = ".ndjson.part";
/// Told apart from the line that it takes back.
const WITHDRAWN: &str = " withdrawn";
/// Lines in one write, and one sync.
const BATCH_MAX: usize = 500;

/// NDJSON files in a folder: `Observation-000001.ndjson` and on.
pub struct NdjsonSink {
    files: Arc<Mutex<Files>>,
    scope: Scope,
}

struct Files {
    folder: PathBuf,
    rotate_bytes: u64,
    number: u64,
    /// The file that is written; none after a failure: the next write begins a new one.
    open: Option<(File, u64)>,
    /// Ids of lines that were there at start and may not be settled.
    recent: HashSet<String>,
    bulk: Option<Bulk>,
}

/// In the form of a Bulk Data export.
struct Bulk {
    gateway: GatewayId,
    close_after: Duration,
    /// When the file that grows was begun, or taken over.
    began: Instant,
}

impl NdjsonSink {
    /// Opens the folder's last file, cuts a torn line off, and reads what may be sent again.
    pub fn new(settings: &NdjsonSettings, gateway: &GatewayId) -> Result<Self, SinkError> {
        let close_after = Duration::from_secs(settings.rotate_min.max(1).saturating_mul(60));
        let bulk = || Bulk { gateway: gateway.clone(), close_after, began: Instant::now() };
        let rotate_bytes = settings.rotate_mib.max(1).saturating_mul(1024 * 1024);
        let files = Files::open(&settings.folder, rotate_bytes, settings.bulk.then(bulk))
            .map_err(|source| SinkError::Folder { folder: settings.folder.clone(), source })?;
        Ok(Self { files: Arc::new(Mutex::new(files)), scope: Scope::new(gateway.clone()) })
    }
}

impl Destination for NdjsonSink {
    async fn deliver(&self, items: &[Item], _evidence: &[Arc<Reading>]) -> Vec<Outcome> {
        let lines: Vec<_> = items.iter().map(|item| line(item, &self.scope)).collect();
        let files = self.files.clone();
        // The disk may take its time; the other destinations do not wait for it.
        let written =
            tokio::task::spawn_blocking(move || files.lock().unwrap_or_else(PoisonError::into_inner).append(&lines));
        written.await.unwrap_or_else(|_| {
            items.iter().map(|_| Trouble::File(std::io::ErrorKind::Other).destination(None)).collect()
        })
    }

    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn linger(&self) -> Duration {
        limits::NDJSON_LINGER
    }

    fn takes_readings(&self) -> bool {
        true
    }

    fn takes_alerts(&self) -> bool {
        false
    }
}

/// A line to be written, or what becomes of the item instead.
struct Line {
    id: String,
    text: Vec<u8>,
}

fn line(item: &Item, scope: &Scope) -> Result<Line, Outcome> {
    let Payload::Reading(reading) = &item.what else {
        return Err(Trouble::Unclear("a file takes readings only").reject());
    };
    let written = Identity::of(reading).and_then(|identity| {
        let (mut id, mut text) = (identity.resource_id(), Vec::with_capacity(1_500));
        write_observation(reading, scope, &identity, Some(&id), &mut text)?;
        text.push(b'\n');
        // The line that takes another back has its id.
        id.push_str(if reading.is_withdrawal() { WITHDRAWN } else { "" });
        Ok(Line { id, text })
    });
    written.map_err(Trouble::unmappable)
}

impl Files {
    fn open(folder: &Path, rotate_bytes: u64, bulk: Option<Bulk>) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut found: Vec<(u64, &str)> = numbers(folder, SUFFIX)?.into_iter().map(|n| (n, SUFFIX)).collect();
        found.extend(numbers(folder, GROWING)?.into_iter().map(|n| (n, GROWING)));
        found.sort_unstable();
        let last = found.last().copied();
        let (number, recent) = (last.map_or(0, |(n, _)| n), HashSet::new());
        let mut files = Self { folder: folder.into(), rotate_bytes, number, open: None, recent, bulk };
        let growing = if files.bulk.is_some() { GROWING } else { SUFFIX };
        // A rotation may have come between the last lines: two files hold all that can be unsettled.
        for (at, (number, suffix)) in found.iter().rev().enumerate().filter(|(at, (_, s))| *at < 2 || *s == GROWING) {
            let mut file = OpenOptions::new().read(true).write(true).open(files.named(*number, suffix))?;
            let length = files.recall(&mut file)?;
            if at == 0 && *suffix == growing {
                file.seek(SeekFrom::Start(length))?;
                files.open = Some((file, length));
            } else if *suffix == GROWING {
                // Left by an end, or by another setting: it grows no more.
                files.whole(*number)?;
            }
        }
        files.list()?;
        Ok(files)
    }

    /// From now on readers see this file.
    fn whole(&self, number: u64) -> std::io::Result<()> {
        std::fs::rename(self.named(number, GROWING), self.named(number, SUFFIX))?;
        File::open(&self.folder)?.sync_all()
    }

    /// The manifest names what is whole.
    fn list(&self) -> std::io::Result<()> {
        let Some(bulk) = &self.bulk else { return Ok(()) };
        let mut whole = numbers(&self.folder, SUFFIX)?;
        whole.sort_unstable();
        let names: Vec<_> = whole.iter().map(|number| format!("{PREFIX}{number:06}{SUFFIX}")).collect();
        manifest::write(&self.folder, &bulk.gateway, &names)
    }

    /// Ends the file that is written, if it is large or old enough.
    fn turn(&mut self) -> std::io::Result<()> {
        let large = self.open.as_ref().is_some_and(|(_, length)| *length >= self.rotate_bytes);
        let old = self.bulk.as_ref().is_some_and(|b| b.began.elapsed() >= b.close_after);
        if large || old { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> std::io::Result<()> {
        let Some((file, length)) = self.open.take() else { return Ok(()) };
        if self.bulk.is_some() && length > 0 {
            file.sync_all()?;
            self.whole(self.number)?;
            self.list()?;
        }
        Ok(())
    }

    /// Reads the end of a file, cuts off a torn line, remembers the ids; gives the length that is left.
    fn recall(&mut self, file: &mut File) -> std::io::Result<u64> {
        let length = file.metadata()?.len();
        let start = length.saturating_sub(limits::NDJSON_TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.take(limits::NDJSON_TAIL_BYTES).read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        if whole < tail.len() {
            file.set_len(start + whole as u64)?;
            file.sync_all()?;
        }
        let lines = tail.get(..whole).unwrap_or_default().split(|b| *b == b'\n');
        self.recent.extend(lines.filter_map(id_of));
        Ok(start + whole as u64)
    }

    fn named(&self, number: u64, suffix: &str) -> PathBuf {
        self.folder.join(format!("{PREFIX}{number:06}{suffix}"))
    }

    /// One write and one sync for all lines; one outcome for each.
    fn append(&mut self, lines: &[Result<Line, Outcome>]) -> Vec<Outcome> {
        let mut text = Vec::new();
        let mut offsets = Vec::with_capacity(lines.len());
        for line in lines {
            let fresh = line.as_ref().ok().filter(|l| !self.recent.contains(&l.id));
            offsets.push(fresh.map(|_| text.len() as u64));
            text.extend(fresh.into_iter().flat_map(|l| &l.text));
        }
        let written = self.write(&text);
        let outcome = |(line, offset): (&Result<Line, Outcome>, Option<u64>)| match (line, offset, &written) {
            (Err(outcome), ..) => outcome.clone(),
            (Ok(_), _, Err(e)) => Trouble::File(e.kind()).destination(None),
            (Ok(line), None, Ok(_)) => Outcome::Delivered(Receipt { location: line.id.as_str().into(), known: true }),
            (Ok(_), Some(offset), Ok(start)) => {
                let location = format!("{PREFIX}{:06}{SUFFIX}:{}", self.number, start + offset);
                Outcome::Delivered(Receipt { location: location.into(), known: false })
            }
        };
        lines.iter().zip(offsets).map(outcome).collect()
    }

    /// Where the text begins. After an error the file is left as it is found at the next start, and another one begins:
    /// a failed sync is never tried again on the same file.
    fn write(&mut self, text: &[u8]) -> std::io::Result<u64> {
        if text.is_empty() {
            return Ok(0);
        }
        self.turn()?;
        let (mut file, start) = match self.open.take() {
            Some(open) => open,
            None => (self.create()?, 0),
        };
        if let Err(e) = file.write_all(text).and_then(|()| file.sync_data()) {
            // What is left of it is cut off if possible: half a line must not stand before whole ones.
            let _ = file.set_len(start);
            return Err(e);
        }
        self.open = Some((file, start + text.len() as u64));
        Ok(start)
    }

    fn create(&mut self) -> std::io::Result<File> {
        self.number += 1;
        let suffix = if self.bulk.is_some() { GROWING } else { SUFFIX };
        let file = OpenOptions::new().write(true).create_new(true).open(self.named(self.number, suffix))?;
        if let Some(bulk) = &mut self.bulk {
            bulk.began = Instant::now();
        }
        // The name must survive a power cut as the lines do.
        File::open(&self.folder)?.sync_all()?;
        Ok(file)
    }
}

impl Drop for Files {
    /// At an orderly end readers see all of it.
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::warn!(error = %e, "The last file stays unlisted until the next start.");
        }
    }
}

/// Numbers of the folder's files with this end.
fn numbers(folder: &Path, suffix: &str) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix(PREFIX)?.strip_suffix(suffix)?.parse::<u64>().ok());
        numbers.extend(number);
    }
    Ok(numbers)
}

/// The id of a line that this gateway wrote: it stands near the front.
fn id_of(line: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Resource {
        id: String,
        #[serde(default)]
        status: String,
    }
    let Resource { id, status } = serde_json::from_slice(line).ok()?;
    Some(if status == "entered-in-error" { id + WITHDRAWN } else { id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::ItemId;
    use crate::fhir::fixtures::nth;

    fn items(numbers: std::ops::Range<u64>) -> Vec<Item> {
        let item = |n| Item {
            id: ItemId::Reading(i64::try_from(n).unwrap()),
            what: Payload::Reading(Arc::new(nth("heart-rate", n))),
            attempts: 0,
        };
        numbers.map(item).collect()
    }

    fn deliver(sink: &NdjsonSink, items: &[Item]) -> Vec<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(sink.deliver(items, &[]))
    }

    fn sink(folder: &Path) -> NdjsonSink {
        let settings = NdjsonSettings {
            name: "files".into(),
            folder: folder.into(),
            rotate_mib: 1,
            bulk: false,
            rotate_min: 60,
            consent: None,
            fields: None,
        };
        NdjsonSink::new(&settings, &"box-1".into()).unwrap()
    }

    fn bulk(folder: &Path) -> NdjsonSink {
        let settings = NdjsonSettings {
            name: "files".into(),
            folder: folder.into(),
            rotate_mib: 1,
            bulk: true,
            rotate_min: 60,
            consent: None,
            fields: None,
        };
        NdjsonSink::new(&settings, &"box-1".into()).unwrap()
    }

    fn manifest(folder: &Path) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap()
    }

    #[test]
    fn a_reader_of_the_bulk_form_sees_whole_files_and_their_counts() {
        let folder = tempfile::tempdir().unwrap();
        let sink = bulk(folder.path());
        assert_eq!(manifest(folder.path())["output"], serde_json::json!([]));
        for n in 0..3 {
            deliver(&sink, &items(n * 500..(n + 1) * 500));
            for entry in std::fs::read_dir(folder.path()).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let listed = manifest(folder.path())["output"].to_string().contains(&format!("\"{name}\""));
                assert!(listed || name == "manifest.json" || name.ends_with(".part"), "{name}");
            }
        }
        let output = manifest(folder.path())["output"].clone();
        assert_eq!(output[0]["url"], "Observation-000001.ndjson");
        assert_eq!((&output[0]["type"], &output[0]["count"]), (&"Observation".into(), &1_000.into()));
        assert!(output.get(1).is_none(), "the second still grows: {output}");
        // A crash leaves it growing; nothing is written twice, and an orderly end shows it.
        std::mem::forget(sink);
        let sink = bulk(folder.path());
        let outcomes = deliver(&sink, &items(1_400..1_600));
        assert_eq!(outcomes.iter().filter(|o| is_known(o)).count(), 100);
        drop(sink);
        let whole = manifest(folder.path());
        assert_eq!((&whole["output"][1]["count"], &whole["requiresAccessToken"]), (&600.into(), &false.into()));
        assert!(whole["transactionTime"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn a_change_of_form_leaves_no_line_behind() {
        let folder = tempfile::tempdir().unwrap();
        let first = bulk(folder.path());
        deliver(&first, &items(0..5));
        std::mem::forget(first);
        deliver(&sink(folder.path()), &items(3..8));
        assert_eq!(manifest(folder.path())["output"], serde_json::json!([]), "it is the other form's");
        drop(bulk(folder.path()));
        let counts: Vec<_> =
            manifest(folder.path())["output"].as_array().unwrap().iter().map(|o| o["count"].clone()).collect();
        assert_eq!(counts.iter().map(|c| c.as_u64().unwrap()).sum::<u64>(), 8);
    }

    fn lines(folder: &Path) -> Vec<String> {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
            .iter()
            .flat_map(|f| std::fs::read_to_string(f).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    fn is_known(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Delivered(Receipt { known: true, .. }))
    }

    #[test]
    fn a_receipt_says_where_the_line_is() {
        let folder = tempfile::tempdir().unwrap();
        let outcomes = deliver(&sink(folder.path()), &items(0..3));
        for (n, outcome) in outcomes.iter().enumerate() {
            let Outcome::Delivered(receipt) = outcome else { panic!("{outcome:?}") };
            let (file, offset) = receipt.location.split_once(':').unwrap();
            let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
            let line = text[offset.parse().unwrap()..].lines().next().unwrap();
            assert_eq!(line, lines(folder.path())[n]);
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok());
        }
    }

    #[test]
    fn a_resend_after_a_crash_adds_nothing_and_a_torn_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        deliver(&sink(folder.path()), &items(0..5));
        let file = folder.path().join("Observation-000001.ndjson");
        let whole = std::fs::read(&file).unwrap();
        let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
        for cut in (ends[1]..whole.len()).step_by(97).chain([ends[2], ends[2] - 1]) {
            std::fs::write(&file, &whole[..cut]).unwrap();
            let outcomes = deliver(&sink(folder.path()), &items(0..7));
            let known = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(outcomes.iter().filter(|o| is_known(o)).count(), known, "cut at {cut}");
            let lines = lines(folder.path());
            assert_eq!(lines.len(), 7, "cut at {cut}");
            assert!(lines.iter().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()));
        }
    }

    #[test]
    fn files_are_rotated_and_the_one_before_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let first = sink(folder.path());
        for n in 0..3 {
            deliver(&first, &items(n * 500..(n + 1) * 500));
        }
        let count = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(count, 2, "a file ends with the batch that fills it");
        drop(first);
        let outcomes = deliver(&sink(folder.path()), &items(900..1_501));
        assert_eq!(outcomes.iter().filter(|o| !is_known(o)).count(), 1);
        assert_eq!(lines(folder.path()).len(), 1_501);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_and_later_a_retry() {
        let settings = NdjsonSettings {
            name: "x".into(),
            folder: "/proc/nothing/here".into(),
            rotate_mib: 1,
            bulk: false,
            rotate_min: 60,
            consent: None,
            fields: Default::default(),
        };
        assert!(matches!(NdjsonSink::new(&settings, &"box-1".into()), Err(SinkError::Folder { .. })));

        let folder = tempfile::tempdir().unwrap();
        let sink = sink(&folder.path().join("sub"));
        std::fs::remove_dir(folder.path().join("sub")).unwrap();
        let outcomes = deliver(&sink, &items(0..1));
        assert!(matches!(&outcomes[0], Outcome::Retry { destination: true, .. }), "{outcomes:?}");
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        assert!(matches!(&deliver(&sink, &items(0..1))[0], Outcome::Delivered(_)), "it heals");
    }
}
