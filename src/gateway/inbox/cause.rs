//! What a cause asks of people: whose work it is, how soon, and what would help. Pure.
//!
//! Must never: put anything of a patient into a title or a fix.

use std::time::Duration;

use crate::alarm::Priority;
use crate::association::Unassigned;
use crate::control::inbox::{Fix, Owner};
use crate::journal::inbox::{Cause, Kind};
use crate::{codec, profile};

const HOUR: Duration = Duration::from_secs(3_600);

/// Whose work it is.
pub(super) fn owner(cause: &Cause) -> Owner {
    match (cause.kind, &*cause.code) {
        (Kind::Unassigned, _) => Owner::CareManager,
        // Somebody must know now that an alert did not get through.
        (Kind::Alert, _) => Owner::Operator,
        (Kind::Notice, _) => Owner::IntegrationEngineer,
        (_, "WL-F015" | "WL-J030") => Owner::Operator,
        (Kind::Refused, _) if is_about_patient(cause) => Owner::CareManager,
        (Kind::Refused, _) => Owner::IntegrationEngineer,
        (Kind::Undecodable, code) if is_device(code) => Owner::Technician,
        (Kind::Undecodable, _) => Owner::IntegrationEngineer,
    }
}

/// When somebody should have seen to it, after it began.
pub(super) fn due(cause: &Cause) -> Duration {
    match cause.kind {
        Kind::Alert => HOUR,
        Kind::Refused | Kind::Notice | Kind::Unassigned => 24 * HOUR,
        Kind::Undecodable => 72 * HOUR,
    }
}

/// How soon a person must act.
pub(super) fn priority(cause: &Cause) -> Priority {
    match cause.kind {
        Kind::Alert => Priority::High,
        Kind::Refused => Priority::Medium,
        Kind::Notice | Kind::Undecodable | Kind::Unassigned => Priority::Low,
    }
}

/// One sentence: what happened to how many.
pub(super) fn title(cause: &Cause, items: u64) -> String {
    let (s, verb) = if items == 1 { ("", "is") } else { ("s", "are") };
    let place = &cause.place;
    match cause.kind {
        Kind::Refused => format!("{items} reading{s} refused by {place}"),
        Kind::Alert => format!("{items} alert event{s} refused by {place}"),
        Kind::Notice => format!("{items} technical alert event{s} refused by {place}"),
        Kind::Undecodable => format!("{items} message{s} from {place} cannot be decoded"),
        Kind::Unassigned => {
            let slot = cause.slot().map_or_else(String::new, |n| format!(", user slot {n},"));
            format!("{items} reading{s} of {place}{slot} {verb} nobody's")
        }
    }
}

/// What would help, for the group with this id; `example`: its first item, as `wardline explain` takes it.
pub(super) fn fix(cause: &Cause, example: Option<&str>) -> Fix {
    let id = cause.id();
    let explain = example.map(|key| format!("wardline explain {key}"));
    let (words, mut commands): (String, Vec<String>) = match cause.kind {
        Kind::Unassigned => unassigned(cause, example),
        Kind::Undecodable => (undecodable(&cause.code), vec!["wardline profile test FILE".into()]),
        Kind::Alert => {
            let words = "Tell the care team by another way now: this alert did not reach the destination. Then see what it \
                         refuses (does it take DetectedIssue and Task?) and correct it there, or add a webhook.";
            (words.to_owned(), vec!["wardline alerts --all".into()])
        }
        Kind::Notice => {
            let words = "The destination does not take alerts about the gateway itself. See what it refuses (does it take \
                         DetectedIssue and Task?) and correct it there, or discard these.";
            (words.to_owned(), vec!["wardline alerts --all".into()])
        }
        Kind::Refused => (refused(cause), explain.into_iter().collect()),
    };
    commands.push(format!("wardline inbox dry-run {id}"));
    commands.push(format!("wardline inbox replay {id} --by NAME"));
    Fix { words, commands }
}

fn unassigned(cause: &Cause, example: Option<&str>) -> (String, Vec<String>) {
    let (place, why) = (&cause.place, cause.unassigned().unwrap_or(Unassigned::NoHolder));
    let slot = cause.slot().map_or_else(String::new, |n| format!(" --slot {n}"));
    let look = format!("wardline unassigned --device {place}");
    let confirm = format!("wardline unassigned {} --patient Patient/… --by NAME", example.unwrap_or("ID"));
    let hand = format!("wardline assign {place} Patient/…{slot} --since WHEN --by NAME");
    let (words, commands) = match why {
        Unassigned::NoHolder | Unassigned::SlotUnknown => (
            "Say whose this is and since when: what was taken since then goes to that patient, and nothing else.",
            vec![hand],
        ),
        Unassigned::BeforeHandOut | Unassigned::AfterReturn | Unassigned::HandOver | Unassigned::TimeUnknown => (
            "Who had the device when these were taken? Ask them, and say it for each; or correct the hand-out.",
            vec![look, confirm, hand],
        ),
        Unassigned::SeveralUsers => (
            "More than one person uses this device: say which user slot is whose. What came meanwhile is for a person to say.",
            vec![hand, look, confirm],
        ),
        Unassigned::NoSlot | Unassigned::UnlikeHolder | Unassigned::TakenBack => {
            ("Only the people themselves know whose these are: ask them, and say it for each.", vec![look, confirm])
        }
    };
    (words.to_owned(), commands)
}

fn undecodable(code: &str) -> String {
    let known = profile::reject::remedy(code).unwrap_or_else(|| codec::reject::remedy(code));
    format!("{known} A changed profile is in force after a restart of the gateway.")
}

fn refused(cause: &Cause) -> String {
    let words = match &*cause.code {
        _ if is_about_patient(cause) => {
            "The destination does not know the patient. Create the patient there, or correct the patient of the device."
        }
        "WL-F011" => {
            "The destination says that these are wrong. See what was sent and where the error is; correct the mapping (the \
             device's profile, `us_core`) or ask the destination's owner to take them."
        }
        "WL-F012" => {
            "Remove the double at the destination, and look for another system that writes with our identifiers."
        }
        "WL-F009" => "The destination takes no request of this size, not even with one reading: ask its owner.",
        "WL-F014" => "Correct the device's profile: it gives a unit that this vital sign cannot have.",
        "WL-T006" => {
            "No code system has this vital sign, and the destination takes none without a code: give it a code in the \
             destination's `mapping_file`, or set `uncoded = \"text\"`."
        }
        "WL-H001" => {
            "The receiver found an error in these messages. See its code and place, and docs/hl7.md for what stands there; correct \
             the settings of the destination, or ask its owner to take them."
        }
        "WL-H002" => "The receiver refuses these while it takes others: ask its owner for the reason.",
        "WL-H004" => {
            "There is no code for these that HL7 receivers know: send them to another kind of destination, or discard them."
        }
        "WL-F015" => "Free space, and check that the gateway's user may write the folder.",
        "WL-J030" => "The stored record cannot be read: check the disk, and discard what is lost with its reason.",
        _ => "The destination failed on these again and again while it took others: ask its owner for the cause.",
    };
    words.to_owned()
}

fn is_about_patient(cause: &Cause) -> bool {
    // 204: unknown key identifier, as HL7 receivers call a patient that they do not know.
    let unknown = cause.code == "WL-H001" && (cause.reason.contains(": 204") || cause.reason.contains("at PID."));
    unknown || (cause.code == "WL-F011" && cause.reason.contains("Observation.subject"))
}

/// Bytes that are broken rather than unknown.
fn is_device(code: &str) -> bool {
    matches!(code, "WL-D001" | "WL-D002" | "WL-D003" | "WL-D004" | "WL-D007" | "WL-D009" | "WL-D010" | "WL-D121")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(kind: Kind, place: &str, code: &str, reason: &str) -> Cause {
        Cause { kind, place: place.into(), code: code.into(), reason: reason.into() }
    }

    #[test]
    fn each_cause_has_an_owner_and_a_way_out() {
        for (cause, expected) in [
            (cause(Kind::Unassigned, "mqtt:cuff", "WL-O020", "slot-unknown, user slot 2"), Owner::CareManager),
            (cause(Kind::Alert, "centre", "WL-F011", "refused (HTTP 422)"), Owner::Operator),
            (cause(Kind::Notice, "centre", "WL-F011", "refused (HTTP 422)"), Owner::IntegrationEngineer),
            (cause(Kind::Refused, "centre", "WL-F011", "refused (HTTP 422)"), Owner::IntegrationEngineer),
            (
                cause(Kind::Refused, "lab", "WL-H001", "the receiver found an error in it (AE: 204 at PID.1.3)"),
                Owner::CareManager,
            ),
            (
                cause(Kind::Refused, "centre", "WL-F011", "refused (HTTP 422: not-found at Observation.subject)"),
                Owner::CareManager,
            ),
            (cause(Kind::Undecodable, "home", "WL-P001", "no profile matches"), Owner::IntegrationEngineer),
            (cause(Kind::Undecodable, "home", "WL-D004", "the record does not match"), Owner::Technician),
        ] {
            assert_eq!(owner(&cause), expected, "{cause:?}");
            let fix = fix(&cause, Some("0011"));
            assert!(fix.words.len() > 30 && fix.commands.len() >= 2, "{fix:?}");
            assert!(fix.commands.iter().any(|c| c == &format!("wardline inbox dry-run {}", cause.id())));
        }
        let slot = cause(Kind::Unassigned, "mqtt:cuff", "WL-O020", "slot-unknown, user slot 2");
        assert_eq!(title(&slot, 2), "2 readings of mqtt:cuff, user slot 2, are nobody's");
        assert_eq!(fix(&slot, None).commands[0], "wardline assign mqtt:cuff Patient/… --slot 2 --since WHEN --by NAME");
        assert_eq!(title(&cause(Kind::Refused, "centre", "x", "y"), 1), "1 reading refused by centre");
    }
}
