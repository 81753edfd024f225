//! What would become of stuck items if they were sent again now: our own checks, one verdict for each.
//!
//! Must never: change anything.

use super::super::probe::Surveys;
use super::Office;
use crate::control::inbox::Verdict;
use crate::fhir;
use crate::journal::inbox::{Cause, Kind, Stuck, What};
use crate::profile::{Catalogue, Decoder};
use crate::reading::{Frame, PatientId, Reading, TimeMethod};
use crate::sink::probe::Opinion;

/// A verdict with its reason.
pub(super) type Judged = (Verdict, String);

/// One for each item, in order. Blocking.
pub(super) fn trials(office: &Office, cause: &Cause, items: &[Stuck]) -> Vec<Judged> {
    let mut bench = match cause.kind {
        Kind::Undecodable => Some(Bench::new(office)),
        _ => None,
    };
    let holder = holder(office, cause);
    let mut judge = |item: &Stuck| match (&item.what, cause.kind, &mut bench) {
        (What::Reading(entry), Kind::Unassigned, _) => owned(office, &entry.reading, holder.as_ref()),
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

/// Who holds the device of an unassigned group now, if it is one of this box's patients.
pub(super) fn holder(office: &Office, cause: &Cause) -> Option<PatientId> {
    if cause.kind != Kind::Unassigned {
        return None;
    }
    let devices = office.records.devices().ok()?;
    let device = devices.iter().find(|d| *d.id.0 == *cause.place)?;
    let holder = if device.slots.is_empty() {
        device.patient.clone()
    } else {
        device.slots.get(&cause.slot()?.to_string()).cloned()
    };
    holder.filter(|p| office.patients.contains(p))
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

fn owned(office: &Office, reading: &Reading, holder: Option<&PatientId>) -> Judged {
    let Some(holder) = holder else { return fails("the device has no patient of this box yet") };
    let theirs = Reading { patient: Some(holder.clone()), ..reading.clone() };
    match fhir::single(&theirs, &office.scope, fhir::Write::ConditionalCreate) {
        Ok(_) => (Verdict::Passes, "it gets its patient and is sent to every destination".into()),
        Err(fhir::Unmappable::Undated) if reading.taken.method == TimeMethod::Pending => {
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
