//! Says it to people when a group begins and when it ends: one technical alert for each group, once.
//!
//! Promises: what nobody tries any more is told within seconds, also after a restart; a replay that fails does not tell
//! again. Must never: let a flood of strangers become a flood of alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::consents::Waiting;
use super::super::pipeline::Technical;
use super::{Office, State, cause, ms};
use crate::alarm::Priority;
use crate::demographics::LACKING;
use crate::journal::inbox::Cause;
use crate::journal::{Act, Withheld};
use crate::limits;

/// Conditions by name: how urgent, and in words.
type Notices = BTreeMap<Arc<str>, (Priority, String)>;

/// What one look found.
#[derive(Default)]
struct Found {
    begun: Vec<(Cause, i64)>,
    ended: Vec<String>,
    notices: Notices,
}

/// Looks while the journal changes, until nobody listens.
pub(in crate::gateway) async fn run(office: Arc<Office>, waiting: Arc<Waiting>, told: mpsc::Sender<Technical>) {
    let mut changed = office.journal.changed();
    let mut said = Notices::new();
    loop {
        changed.mark_unchanged();
        let lacking = waiting.clone();
        let found = office.read(move |office| Ok(look(office, &lacking))).await.ok().flatten();
        if let Some(found) = found {
            for act in [(!found.begun.is_empty()).then_some(Act::Open(found.begun)), Some(Act::Clear(found.ended))] {
                let Some(act) = act.filter(|act| !matches!(act, Act::Clear(ids) if ids.is_empty())) else { continue };
                // Not kept: the next look finds it again.
                let _ = office.journal.redress(act).await;
            }
            for condition in news(&said, &found.notices) {
                if told.send(condition).await.is_err() {
                    return;
                }
            }
            said = found.notices;
        }
        let pause = tokio::time::sleep(limits::INBOX_LOOK_EVERY);
        tokio::select! {
            () = pause => {}
            () = told.closed() => return,
        }
        tokio::select! {
            moved = changed.changed() => if moved.is_err() { return },
            () = told.closed() => return,
        }
    }
}

/// `None`: the journal cannot be read now. Blocking.
fn look(office: &Office, waiting: &Waiting) -> Option<Found> {
    let now_ms = office.clock.now().wall_ms;
    let mut found = Found::default();
    let mut open = Vec::new();
    for (id, (cause, extent, case)) in office.heaps().ok()? {
        let was_open = case.as_ref().is_some_and(|c| c.state != State::Cleared.word());
        let sending = case.as_ref().is_some_and(|c| c.sending > 0);
        match (extent, was_open) {
            (Some(_), false) => found.begun.push((cause.clone(), now_ms.saturating_add(ms(cause::due(&cause))))),
            (None, true) if !sending => found.ended.push(id.clone()),
            _ => {}
        }
        if let Some(extent) = extent {
            open.push((case.map_or(now_ms, |c| c.opened_ms), id, cause, extent.items));
        } else if sending && was_open {
            open.push((case.map_or(now_ms, |c| c.opened_ms), id, cause, 0));
        }
    }
    // The oldest keep their notices.
    open.sort_by_key(|(opened_ms, id, ..)| (*opened_ms, id.clone()));
    for (n, (_, id, cause, items)) in open.iter().enumerate() {
        let (name, notice) = if n < limits::INBOX_NOTICES_MAX {
            (format!("inbox:{id}"), (cause::priority(cause), words(id, cause, *items)))
        } else {
            let text = "Still more causes have stuck items that are not sent: see `wardline inbox`";
            ("inbox:more".to_owned(), (Priority::Medium, text.to_owned()))
        };
        found.notices.insert(name.into(), notice);
    }
    found.notices.extend(lacking(&waiting.found().ok()?));
    Some(found)
}

/// Destinations that do not get something as a consent is lacking, or match fields. Of nobody in particular: it goes to all destinations.
fn lacking(withheld: &[Withheld]) -> Notices {
    let mut notices = Notices::new();
    for w in withheld {
        let to = &w.destination;
        let mut say =
            |what: &str, priority, text: String| drop(notices.insert(format!("{what}:{to}").into(), (priority, text)));
        let (names, lacking, code, see) = match w.category == LACKING {
            true => (["match-alert", "match"], "match fields are", "WL-H005", "wardline patient identified"),
            false => (["consent-alert", "consent"], "a consent is", "WL-O050", "wardline consent list"),
        };
        let [of_alerts, of_readings] = names;
        if w.alerts > 0 {
            let text = format!(
                "An alert about a person is not sent to {to}: {lacking} lacking ({code}). Look at `wardline alerts` on the \
                 box, and at `{see}`"
            );
            say(of_alerts, Priority::High, text);
        }
        if w.readings > 0 {
            let text = format!("Readings wait and are not sent to {to}: {lacking} lacking ({code}): see `{see}`");
            say(of_readings, Priority::Medium, text);
        }
    }
    notices
}

fn words(id: &str, cause: &Cause, items: u64) -> String {
    let title = cause::title(cause, items.max(1));
    format!("{title}: not sent until somebody acts. See `wardline inbox show {id}`")
}

/// What began and what ended since.
fn news(before: &Notices, now: &Notices) -> Vec<Technical> {
    let begun = now.iter().filter(|(name, _)| !before.contains_key(*name));
    let ended = before.iter().filter(|(name, _)| !now.contains_key(*name));
    let condition = |active| {
        move |(name, (priority, text)): (&Arc<str>, &(Priority, String))| Technical {
            name: name.clone(),
            active,
            priority: *priority,
            text: text.clone(),
        }
    };
    begun.map(condition(true)).chain(ended.map(condition(false))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_told_when_it_begins_and_when_it_ends_and_not_between() {
        let notices = |ids: &[&str], n: u64| -> Notices {
            ids.iter().map(|id| (Arc::from(*id), (Priority::Medium, format!("{n}")))).collect()
        };
        let (none, one, more) = (notices(&[], 0), notices(&["inbox:a"], 1), notices(&["inbox:a"], 7));
        assert!(matches!(&news(&none, &one)[..], [t] if t.active));
        assert!(news(&one, &more).is_empty());
        assert!(matches!(&news(&more, &none)[..], [t] if !t.active));
    }
}
