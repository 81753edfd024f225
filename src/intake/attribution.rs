//! Who holds a device, and whose a reading is: one person in that window of time, or one per user slot. Pure.
//!
//! Promises: binds on unambiguous evidence only, and says why it did not. Must never: let a window of the past end
//! because the device changed hands, or take the nearest window for the right one.

use std::collections::BTreeSet;

use crate::association::{Association, History, Unassigned};
use crate::config::DeviceSettings;
use crate::reading::{PatientId, Taken, TimeMethod};

/// The holders of one device.
#[derive(Default)]
pub(super) struct Holders {
    pub(super) history: History,
    /// User slots that it told of while one person had it alone.
    users: BTreeSet<u8>,
}

/// When a reading was taken, as far as it decides about the holder.
enum When {
    /// Between these, milliseconds since 1970.
    Between(i64, i64),
    /// Just now, whatever the clock says.
    Now,
    /// Nobody knows.
    Unknown,
}

impl When {
    fn of(taken: &Taken) -> Self {
        match (taken.method, taken.at_ms) {
            // As it came just now, whoever has the device has measured; what may have waited is of nobody knows when.
            (TimeMethod::Pending, _) if i64::from(taken.uncertainty_ms) <= JUST_NOW_MS => Self::Now,
            (TimeMethod::Pending | TimeMethod::Unresolved, _) | (_, None) => Self::Unknown,
            (_, Some(_)) if taken.uncertainty_ms == u32::MAX => Self::Unknown,
            (_, Some(at)) => {
                let doubt = i64::from(taken.uncertainty_ms);
                Self::Between(at.saturating_sub(doubt), at.saturating_add(doubt))
            }
        }
    }
}

impl Holders {
    pub(super) fn new(history: History) -> Self {
        Self { history, users: BTreeSet::new() }
    }

    /// The device tells of its users: of one that a person has alone, a second one is a doubt.
    pub(super) fn tells(&mut self, slot: Option<u8>) {
        self.users.extend(slot);
    }

    /// Another person has it: what it told before was about others.
    pub(super) fn hand(&mut self, settings: &DeviceSettings, now_ms: i64, by: &str) -> bool {
        let changed = hand(&mut self.history, settings, now_ms, by);
        if changed {
            self.users.clear();
        }
        changed
    }

    /// The patient, on unambiguous evidence only.
    pub(super) fn bind(&self, slot: Option<u8>, taken: &Taken) -> Result<PatientId, Unassigned> {
        let alone = self.history.0.iter().all(|a| a.until_ms.is_some() || a.slot.is_none());
        match bind(&self.history, slot, taken) {
            Ok(_) if alone && self.users.len() > 1 => Err(Unassigned::SeveralUsers),
            bound => bound,
        }
    }
}

/// The patient by who held the device, on unambiguous evidence only.
pub(super) fn bind(history: &History, slot: Option<u8>, taken: &Taken) -> Result<PatientId, Unassigned> {
    let by_word = bind_at(history, slot, When::of(taken))?;
    // Nothing of ours could check the device's word: it may have been just now as well.
    if taken.method == TimeMethod::Unchecked && bind_at(history, slot, When::Now).as_ref() != Ok(&by_word) {
        return Err(Unassigned::TimeUnknown);
    }
    Ok(by_word)
}

fn bind_at(history: &History, slot: Option<u8>, when: When) -> Result<PatientId, Unassigned> {
    let all = &history.0;
    let at_that_time: Vec<&Association> = match when {
        When::Between(first, last) => all.iter().filter(|a| a.touches(first, last)).collect(),
        When::Now => all.iter().filter(|a| a.until_ms.is_none()).collect(),
        When::Unknown => all.iter().collect(),
    };
    if at_that_time.is_empty() {
        return Err(outside(all, &when));
    }
    let shared = at_that_time.iter().any(|a| a.slot.is_some());
    let mine: Vec<_> = match (shared, slot) {
        (false, _) => at_that_time,
        (true, None) => return Err(Unassigned::NoSlot),
        // Whoever had the whole device had this slot too.
        (true, Some(slot)) => at_that_time.into_iter().filter(|a| a.slot.is_none_or(|s| s == slot)).collect(),
    };
    match (&mine[..], when) {
        ([], _) => Err(Unassigned::SlotUnknown),
        ([only], When::Between(first, _)) if is_from_a_reset_clock(only, first) => Err(Unassigned::TimeUnknown),
        ([only], When::Between(first, last)) if only.covers(first, last) => Ok(only.patient.clone()),
        ([only], When::Now) => Ok(only.patient.clone()),
        ([only], When::Unknown) if only.from_ms.is_none() && only.until_ms.is_none() => Ok(only.patient.clone()),
        (_, When::Between(..)) => Err(Unassigned::HandOver),
        _ => Err(Unassigned::TimeUnknown),
    }
}

/// Who had it first had it "ever"; a date long before they gave it away is rather one of a clock that began anew.
fn is_from_a_reset_clock(held: &Association, first_ms: i64) -> bool {
    held.from_ms.is_none() && held.until_ms.is_some_and(|until| first_ms < until.saturating_sub(MEMORY_MS))
}

/// Nobody had it then.
fn outside(all: &[Association], when: &When) -> Unassigned {
    match when {
        _ if all.is_empty() => Unassigned::NoHolder,
        When::Between(first, _) if all.iter().all(|a| a.from_ms.is_some_and(|from| *first < from)) => {
            Unassigned::BeforeHandOut
        }
        _ => Unassigned::AfterReturn,
    }
}

/// No device keeps readings for longer: 400 days.
const MEMORY_MS: i64 = 400 * 86_400_000;
/// What is uncertain by less was measured just now.
const JUST_NOW_MS: i64 = 15 * 60 * 1_000;
/// A hand-out that long ago means that nobody else ever had it.
const EVER_MS: i64 = 0;

/// The device is now with whom `settings` says, since then or since `now_ms`. Answers whether anything changed.
fn hand(history: &mut History, settings: &DeviceSettings, now_ms: i64, by: &str) -> bool {
    let wanted = wanted(settings);
    let since = settings.since.map(jiff::Timestamp::as_millisecond);
    let held = |a: &Association| wanted.iter().any(|(slot, patient)| a.slot == *slot && a.patient == **patient);
    let first = history.0.is_empty();
    let mut changed = false;
    for ended in history.0.iter_mut().filter(|a| a.until_ms.is_none() && !held(a)) {
        // A window cannot end before it began.
        ended.until_ms = Some(since.unwrap_or(now_ms).max(ended.from_ms.unwrap_or(i64::MIN)));
        changed = true;
    }
    for (slot, patient) in &wanted {
        // Nobody has it while somebody else does.
        let others = history.0.iter().filter(|a| a.slot == *slot || slot.is_none() || a.slot.is_none());
        let free = others.filter_map(|a| a.until_ms).max();
        let from = |at: i64| free.map_or((at > EVER_MS).then_some(at), |free| Some(at.max(free)));
        let is_theirs = |a: &&mut Association| a.until_ms.is_none() && a.slot == *slot && a.patient == **patient;
        if let Some(held) = history.0.iter_mut().find(is_theirs) {
            // They had it earlier than was said before. Not later: what was theirs in between is in their chart.
            if let Some(since) = since.map(from).filter(|since| *since < held.from_ms) {
                held.from_ms = since;
                changed = true;
            }
            continue;
        }
        let from_ms = match since {
            None if first => None,
            since => from(since.unwrap_or(now_ms)),
        };
        let patient = PatientId::clone(patient);
        history.0.push(Association { slot: *slot, patient, from_ms, until_ms: None, by: by.into() });
        changed = true;
    }
    changed
}

/// Slot and patient, as the settings say.
fn wanted(settings: &DeviceSettings) -> Vec<(Option<u8>, &PatientId)> {
    match settings.slots.is_empty() {
        true => settings.patient.iter().map(|patient| (None, patient)).collect(),
        false => {
            settings.slots.iter().filter_map(|(slot, patient)| Some((Some(slot.parse().ok()?), patient))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::reading::DeviceId;

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 20_000 * DAY;

    fn taken(at_ms: Option<i64>, uncertainty_ms: u32, method: TimeMethod) -> Taken {
        Taken { device: None, received: Stamp::at_ms(NOW), at_ms, uncertainty_ms, method }
    }

    fn at(day: i64) -> Taken {
        taken(Some(NOW + day * DAY), 1_000, TimeMethod::DeviceCivil)
    }

    fn settings(patient: Option<&str>, slots: &[(&str, &str)], since_day: Option<i64>) -> DeviceSettings {
        DeviceSettings {
            id: DeviceId("mqtt:cuff".into()),
            patient: patient.map(PatientId::new),
            slots: slots.iter().map(|(slot, p)| ((*slot).to_owned(), PatientId::new(p))).collect(),
            since: since_day.map(|d| jiff::Timestamp::from_millisecond(NOW + d * DAY).unwrap()),
            time_zone: None,
        }
    }

    fn bound(holders: &Holders, slot: Option<u8>, taken: &Taken) -> Result<String, Unassigned> {
        holders.bind(slot, taken).map(|p| p.reveal().to_owned())
    }

    #[test]
    fn a_device_that_changes_hands_keeps_its_past() {
        let mut holders = Holders::default();
        assert_eq!(bound(&holders, None, &at(0)), Err(Unassigned::NoHolder));
        assert!(holders.hand(&settings(Some("a"), &[], Some(-10)), NOW, "technician"));
        assert!(!holders.hand(&settings(Some("a"), &[], Some(-10)), NOW, "technician"), "nothing new was said");
        assert!(holders.hand(&settings(Some("b"), &[], Some(-2)), NOW, "technician"));
        assert_eq!(bound(&holders, None, &at(-11)), Err(Unassigned::BeforeHandOut));
        assert_eq!(bound(&holders, None, &at(-5)), Ok("a".into()));
        assert_eq!(bound(&holders, None, &at(-1)), Ok("b".into()));
        // The device's clock shows whole seconds: at the moment of the change it could be either.
        assert_eq!(bound(&holders, None, &at(-2)), Err(Unassigned::HandOver));
        assert!(holders.hand(&settings(None, &[], None), NOW, "technician"), "given back");
        assert_eq!(bound(&holders, None, &at(1)), Err(Unassigned::AfterReturn));
        assert_eq!(bound(&holders, None, &at(-5)), Ok("a".into()));
        assert!(holders.hand(&settings(Some("c"), &[], Some(-9)), NOW + DAY, "technician"));
        assert_eq!(holders.history.0.last().unwrap().from_ms, Some(NOW), "not while somebody else had it");
    }

    #[test]
    fn what_has_no_time_needs_a_device_that_was_never_anybody_elses() {
        let unknown = taken(None, u32::MAX, TimeMethod::Unresolved);
        let waited = taken(Some(NOW), u32::MAX, TimeMethod::Received);
        let live = taken(None, 1_000, TimeMethod::Pending);
        let mut holders = Holders::default();
        holders.hand(&settings(Some("a"), &[], None), NOW, "configuration");
        for t in [&unknown, &waited, &live] {
            assert_eq!(bound(&holders, None, t), Ok("a".into()));
        }
        holders.hand(&settings(Some("b"), &[], None), NOW, "technician");
        for t in [&unknown, &waited] {
            assert_eq!(bound(&holders, None, t), Err(Unassigned::TimeUnknown));
        }
        assert_eq!(bound(&holders, None, &live), Ok("b".into()), "a live value is of who has it now");
        let mut since = Holders::default();
        since.hand(&settings(Some("a"), &[], Some(-1)), NOW, "technician");
        assert_eq!(bound(&since, None, &unknown), Err(Unassigned::TimeUnknown));
        assert_eq!(bound(&holders, None, &at(-300)), Ok("a".into()));
        assert_eq!(bound(&holders, None, &at(-3_000)), Err(Unassigned::TimeUnknown), "its clock began anew");
    }

    #[test]
    fn slots_have_holders_of_their_own() {
        let mut holders = Holders::default();
        holders.hand(&settings(None, &[("1", "a"), ("2", "b")], None), NOW, "configuration");
        assert_eq!(bound(&holders, Some(1), &at(0)), Ok("a".into()));
        assert_eq!(bound(&holders, Some(2), &at(0)), Ok("b".into()));
        assert_eq!(bound(&holders, Some(3), &at(0)), Err(Unassigned::SlotUnknown));
        assert_eq!(bound(&holders, None, &at(0)), Err(Unassigned::NoSlot));
        assert!(holders.hand(&settings(None, &[("1", "a"), ("2", "c")], Some(-3)), NOW, "technician"));
        assert_eq!(bound(&holders, Some(1), &at(-1)), Ok("a".into()), "who was not spoken of keeps it");
        assert_eq!(bound(&holders, Some(2), &at(-4)), Ok("b".into()));
        assert_eq!(bound(&holders, Some(2), &at(-1)), Ok("c".into()));
        // From a household back to one person.
        assert!(holders.hand(&settings(Some("d"), &[], Some(-1)), NOW, "technician"));
        assert_eq!(bound(&holders, Some(2), &at(0)), Ok("d".into()));
        assert_eq!(bound(&holders, Some(2), &at(-2)), Ok("c".into()));
    }

    #[test]
    fn one_persons_device_that_tells_of_two_is_nobodys() {
        let mut holders = Holders::default();
        holders.hand(&settings(Some("a"), &[], None), NOW, "configuration");
        holders.tells(Some(2));
        holders.tells(Some(2));
        assert_eq!(bound(&holders, Some(2), &at(0)), Ok("a".into()));
        holders.tells(Some(1));
        for slot in [Some(1), Some(2), None] {
            assert_eq!(bound(&holders, slot, &at(0)), Err(Unassigned::SeveralUsers));
        }
        assert!(holders.hand(&settings(None, &[("1", "b"), ("2", "a")], None), NOW + 1, "technician"));
        assert_eq!(bound(&holders, Some(1), &at(1)), Ok("b".into()), "a person said who is who");
    }
}
