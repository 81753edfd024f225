//! Judgement day: what was promised, and what is there.

use rusqlite::Connection;
use wardline::journal::reader::{Of, Reader};

use super::centre::is_trusted;
use super::disk::look;
use super::story::Story;
use super::world::State;

impl Story {
    /// Holds every obligation against the centre and the journal.
    pub fn judge(&self) {
        let mut state = self.world.lock();
        if !state.wrong.is_empty() {
            return;
        }
        obligations(&mut state);
        look(&self.disk.image(), |folder, reader| {
            if let Err(what) = accounts(&mut state, reader).and_then(|()| tables(&mut state, folder)) {
                state.wrong(format!("liveness: the journal cannot be read: {what}"));
            }
        });
    }
}

/// Every fact of which a source was told that it is kept.
fn obligations(state: &mut State) {
    let mut wrong = Vec::new();
    for (n, fact) in state.facts.iter().enumerate() {
        let device = &state.devices[fact.device];
        let owed = fact.kept && !fact.garbage && device.patient.is_some();
        if owed && fact.stored.is_none() && !(fact.poison && fact.refused) && !state.is_timeless(fact) {
            wrong.push(format!("liveness: fact {n} of {} was kept and never arrived", device.id));
        }
        if device.has_memory() && !fact.kept {
            wrong.push(format!("liveness: fact {n} of {} was never taken", device.id));
        }
        let critical = fact.critical && fact.kept;
        let told = |p: &str| {
            state.centre.issues.iter().any(|(patient, rule)| patient.as_deref() == Some(p) && of(rule, fact.vital))
        };
        if critical && device.patient.is_some_and(|p| !told(p)) {
            wrong.push(format!("liveness: of fact {n} ({}) no alert arrived", fact.vital));
        }
    }
    for link in &state.links {
        if !link.is_idle() {
            wrong.push(format!("liveness: {} still holds frames", link.name));
        }
    }
    wrong.into_iter().for_each(|what| state.wrong(what));
}

impl State {
    /// Whether a fact that did not arrive is one whose time nobody knows: it was handed over when the clock was not right,
    /// in a boot that has ended.
    fn is_timeless(&self, fact: &super::devices::Fact) -> bool {
        let assigned = self.devices[fact.device].patient.is_some();
        let untrusted = |(at, boot): &(i64, u64)| {
            let then = self.wall.iter().rev().find(|(from, _, b)| from <= at && b == boot);
            *boot < self.boot && then.is_some_and(|(_, offset, _)| !is_trusted(at + offset))
        };
        let undated = fact.stated_ms.is_none() && fact.handed.iter().any(untrusted);
        undated && assigned && !fact.garbage && fact.stored.is_none() && !fact.refused
    }
}

fn of(rule: &str, vital: &str) -> bool {
    let begins = match vital {
        "blood-pressure" => "bp-",
        "body-temperature" => "temperature-",
        _ => "heart-rate-",
    };
    rule.starts_with(begins)
}

/// Nothing is owed; what was refused has its reason; the chain of custody holds.
fn accounts(state: &mut State, reader: &Reader) -> Result<(), String> {
    let text = |e: wardline::journal::ReadError| e.to_string();
    for account in reader.accounts().map_err(text)? {
        if account.waiting > 0 {
            state.wrong(format!("liveness: {} items are still owed", account.waiting));
        }
        // What came before the clock was right, and found the box rebooted, is in the inbox as well: nobody knows its time.
        let timeless =
            |kept: bool| state.facts.iter().filter(|f| state.is_timeless(f) && (f.kept || !kept)).count() as u64;
        let refusals = state.centre.refusals;
        let inbox = refusals + timeless(true)..=refusals + timeless(false);
        if !inbox.contains(&account.rejected) {
            state.wrong(format!("safety: {} are in the inbox, it should be {inbox:?}", account.rejected));
        }
        let tried = reader.attempts(Of::Destination("centre"), 1_000).map_err(text)?;
        if tried.iter().any(|t| t.rejected && (t.code.is_empty() || t.reason.is_empty())) {
            state.wrong("safety: a refusal without a reason".into());
        }
    }
    let verified = reader.verify().map_err(text)?;
    if !verified.faults.is_empty() {
        state.wrong(format!("safety: the chain of custody has faults: {:?}", &verified.faults[..1]));
    }
    Ok(())
}

/// What is never sent must be in the tables.
#[allow(clippy::disallowed_methods, reason = "another program's sight of the file")]
fn tables(state: &mut State, folder: &std::path::Path) -> Result<(), String> {
    let look = || -> rusqlite::Result<(String, u64, u64)> {
        let conn = Connection::open(folder.join("journal.sqlite3"))?;
        let count = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0)).map(i64::unsigned_abs);
        Ok((
            conn.query_row("PRAGMA integrity_check", [], |r| r.get(0))?,
            count("SELECT count(*) FROM reading WHERE patient IS NULL")?,
            count("SELECT count(*) FROM frame WHERE reject_code IS NOT NULL")?,
        ))
    };
    let (verdict, nobodys, rejects) = look().map_err(|e| e.to_string())?;
    if verdict != "ok" {
        state.wrong(format!("safety: the file is not sound: {verdict}"));
    }
    let kept =
        |is: &dyn Fn(&super::devices::Fact) -> bool| state.facts.iter().filter(|f| f.kept && is(f)).count() as u64;
    let strangers = kept(&|f| !f.garbage && state.devices[f.device].patient.is_none());
    let garbage = kept(&|f| f.garbage);
    if nobodys < strangers {
        state.wrong(format!("safety: {nobodys} readings of nobody are kept, {strangers} were acknowledged"));
    }
    if rejects < garbage {
        state.wrong(format!("safety: {rejects} frames with their reason are kept, {garbage} were acknowledged"));
    }
    Ok(())
}
