//! The manifest of a folder of NDJSON files, in the form of FHIR Bulk Data exports: which files are whole, of which type,
//! how many lines.
//!
//! Promises: it names whole files only, and is itself exchanged in one piece. Must never: name a file that still grows.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

const NAME: &str = "manifest.json";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    transaction_time: String,
    request: String,
    requires_access_token: bool,
    output: Vec<Output>,
    #[serde(default)]
    deleted: Vec<Output>,
    #[serde(default)]
    error: Vec<Output>,
}

#[derive(Serialize, Deserialize)]
struct Output {
    #[serde(rename = "type")]
    kind: String,
    url: String,
    count: u64,
}

/// Writes it for `files`, whole Observation files of this folder, the newest last.
pub(super) fn write(folder: &Path, gateway: &str, files: &[String]) -> std::io::Result<()> {
    let before = std::fs::read(folder.join(NAME)).ok().and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
    let counted: HashMap<String, u64> = before.into_iter().flat_map(|m| m.output).map(|o| (o.url, o.count)).collect();
    let mut output = Vec::with_capacity(files.len());
    for file in files {
        // A whole file does not change: it is counted once.
        let count = match counted.get(file) {
            Some(count) => *count,
            None => lines(&folder.join(file))?,
        };
        output.push(Output { kind: "Observation".into(), url: file.clone(), count });
    }
    let newest = files.last().and_then(|file| std::fs::metadata(folder.join(file)).ok()?.modified().ok());
    let at = newest.and_then(|t| jiff::Timestamp::try_from(t).ok()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let manifest = Manifest {
        transaction_time: format!("{at:.3}"),
        request: format!("urn:wardline:gateway:{gateway}"),
        requires_access_token: false,
        output,
        deleted: Vec::new(),
        error: Vec::new(),
    };
    let beside = folder.join(format!("{NAME}.part"));
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
    file.sync_all()?;
    std::fs::rename(&beside, folder.join(NAME))?;
    File::open(folder)?.sync_all()
}

fn lines(file: &Path) -> std::io::Result<u64> {
    let mut reader = BufReader::new(File::open(file)?);
    let mut count = 0;
    loop {
        let read = reader.fill_buf()?;
        if read.is_empty() {
            return Ok(count);
        }
        count += read.iter().filter(|b| **b == b'\n').count() as u64;
        let length = read.len();
        reader.consume(length);
    }
}
