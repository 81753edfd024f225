//! What would become of stuck items if they were sent again now: our own checks, one verdict for each.
//!
//! Must never: change anything.

use std::collections::{BTreeMap, HashMap};

use super::super::probe::Surveys;
use super::Office;
use crate::association::{History, Unassigned};
use crate::control::inbox::Verdict;
use crate::journal::inbox::{Cause, Kind, Stuck, What};
use crate::profile::{Catalogue, Decoder};
use crate::reading::{DeviceId, Frame, PatientId, Reading};
use crate::sink::probe::Opinion;
use crate::{fhir, intake};

/// A verdict with its reason.
pub(super) type Judged = (Verdict, String);

/// One for each item, in order. Blocking.
pub(super) fn trials(office: &Office, cause: &Cause, items: &[Stuck]) -> Vec<Judged> {
    let mut bench = match cause.kind {
        Kind::Undecodable => Some(Bench::new(office)),
        _ => None,
    };
    let histories = match cause.kind {
        Kind::Unassigned => histories(office),
        _ => HashMap::new(),
    };
    let mut judge = |item: &Stuck| match (&item.what, cause.kind, &mut bench) {
        (What::Reading(entry), Kind::Unassigned, _) => owned(office, &entry.reading, &histories),
        (What::Reading(entry), ..) => refused(office, &entry.reading),
        (What::Alert(_), ..) => unknown("an alert can only be tried by sending it"),
        (What::Frame(frame), _, Some(bench)) => bench.judge(frame),
        (What::Frame(_) | What::Unreadable, ..) => fails("the stored record cannot be read"),
    };
    items.iter().map(&mut judge).collect()
}

/// Whether a destination was asked, in words.
pub(super) fn asked(cause: &Cause, validates: bool) -> String {
    match cause.kind {
        Kind::Refused if validates => "our own checks and the destination's ($validate)".into(),
        Kind::Refused | Kind::Alert | Kind::Notice => "our own checks only; the destination was not asked".into(),
        Kind::Undecodable | Kind::Unassigned => "our own checks; no destination is concerned yet".into(),
    }
}

/// The destination's own word on what our checks let pass, where it has one.
pub(super) async fn with_opinion(surveys: &Surveys, cause: &Cause, item: &Stuck, trial: Judged) -> Judged {
    let (What::Reading(entry), Kind::Refused, Verdict::Unknown) = (&item.what, cause.kind, trial.0) else {
        return trial;
    };
    match surveys.opinion(&cause.place, &entry.reading).await {
        Some(Opinion::Fine) => (Verdict::Passes, "the destination finds nothing wrong with it".into()),
        Some(Opinion::Wrong(why)) => fails(format!("the destination finds it wrong{why}")),
        Some(Opinion::Silent(why)) => {
            unknown(&format!("our checks find nothing wrong; the destination was asked: {why}"))
        }
        None => trial,
    }
}

/// What a person may insist on: the destination judges it.
pub(super) fn can_be_forced(cause: &Cause, item: &Stuck) -> bool {
    matches!(cause.kind, Kind::Refused | Kind::Alert | Kind::Notice) && !matches!(item.what, What::Unreadable)
}

/// Rows of readings with whose they are, as far as that is known now. Blocking.
pub(super) fn owners(office: &Office, items: &[Stuck]) -> Vec<(PatientId, Vec<i64>)> {
    let histories = histories(office);
    let mut owners: BTreeMap<PatientId, Vec<i64>> = BTreeMap::new();
    for item in items {
        let What::Reading(entry) = &item.what else { continue };
        if let Ok(patient) = theirs(office, &entry.reading, &histories) {
            owners.entry(patient).or_default().push(item.row);
        }
    }
    owners.into_iter().collect()
}

/// Whose a reading is by who held its device, as that is known now. `None`: a person must say so.
pub(in crate::gateway) fn owner(history: &History, reading: &Reading) -> Option<PatientId> {
    judged(history, reading).ok()
}

/// What was held back for its content is not bound by who holds the device.
fn judged(history: &History, reading: &Reading) -> Result<PatientId, Unassigned> {
    match reading.unassigned {
        Some(why @ (Unassigned::SeveralUsers | Unassigned::UnlikeHolder | Unassigned::TakenBack)) => Err(why),
        _ => intake::owner(history, reading),
    }
}

type Histories = HashMap<DeviceId, History>;

fn histories(office: &Office) -> Histories {
    let held = office.reader.held().unwrap_or_default();
    held.into_iter().map(|held| (held.device, held.history)).collect()
}

fn theirs(office: &Office, reading: &Reading, histories: &Histories) -> Result<PatientId, Unassigned> {
    let patient = judged(histories.get(&reading.device).ok_or(Unassigned::NoHolder)?, reading)?;
    if office.patients.contains(&patient) { Ok(patient) } else { Err(Unassigned::NoHolder) }
}

fn refused(office: &Office, reading: &Reading) -> Judged {
    match &reading.patient {
        None => return fails("it is nobody's"),
        Some(patient) if !office.patients.contains(patient) => {
            return fails("its patient is not in the configuration of this box any more");
        }
        Some(_) => {}
    }
    match fhir::single(reading, &office.scope, fhir::Write::ConditionalCreate) {
        Ok(_) => unknown("our checks find nothing wrong; only the destination can say more"),
        Err(e) => fails(e.to_string()),
    }
}

fn owned(office: &Office, reading: &Reading, histories: &Histories) -> Judged {
    let patient = match theirs(office, reading, histories) {
        Ok(patient) => patient,
        Err(why) => return fails(format!("{}: say whose it is (`wardline unassigned`)", why.phrase())),
    };
    let theirs = Reading { patient: Some(patient), unassigned: None, ..reading.clone() };
    match fhir::single(&theirs, &office.scope, fhir::Write::ConditionalCreate) {
        Ok(_) => (Verdict::Passes, "it gets its patient and is sent to every destination".into()),
        Err(fhir::Unmappable::Undated) if reading.taken.waits() => {
            unknown("it gets its patient, and waits for its time")
        }
        Err(fhir::Unmappable::Undated) => unknown("it gets its patient, but nobody knows when it was taken"),
        Err(e) => fails(e.to_string()),
    }
}

/// Frames are decoded with the profiles on the disk, and with those in force.
struct Bench {
    on_disk: Result<Decoder, String>,
    in_force: Decoder,
}

impl Bench {
    fn new(office: &Office) -> Self {
        let on_disk = match &office.profiles {
            Some(folder) => Catalogue::with_folder(folder).map_err(|e| e.to_string()),
            None => Ok(Catalogue::built_in()),
        };
        let on_disk = on_disk.map(|catalogue| Decoder::new(catalogue.into()));
        Self { on_disk, in_force: Decoder::new(office.catalogue.clone()) }
    }

    fn judge(&mut self, frame: &Frame) -> Judged {
        let now = self.in_force.decode(frame);
        let on_disk = match &mut self.on_disk {
            Ok(decoder) => decoder.decode(frame).map_err(|e| e.to_string()),
            Err(e) => Err(format!("the profiles on the disk cannot be read: {e}")),
        };
        match (now, on_disk) {
            (Ok(decoded), _) => {
                (Verdict::Passes, format!("{} readings by the profile {}", decoded.drafts.len(), decoded.profile))
            }
            (Err(_), Ok(decoded)) => fails(format!(
                "the profile {} on the disk reads it, but is not in force yet: restart the gateway, then replay",
                decoded.profile
            )),
            (Err(_), Err(why)) => fails(why),
        }
    }
}

fn fails(why: impl Into<String>) -> Judged {
    (Verdict::Fails, why.into())
}

fn unknown(why: &str) -> Judged {
    (Verdict::Unknown, why.into())
}
