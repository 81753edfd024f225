//! Match fields in their table: a row for a patient and a destination that asks for them, and for nobody else.
//!
//! Promises: sealed; cut to what the destination asks for now; what was taken back is gone from the file and its WAL.
//! Must never: believe a damaged row, or outlive the opt-in of its destination.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::reader::{ReadError, Reader};
use super::seal;
use crate::custody::Creditor;
use crate::demographics::Demographics;
use crate::minimum::Field;
use crate::reading::PatientId;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introduced {
    /// What the destination finds the patient by.
    pub person: Demographics,
    /// Who gave it.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// By destination and patient.
pub(super) type All = Vec<(PatientId, Arc<str>, Introduced)>;

/// Who can be named at one destination.
pub(super) type People = HashMap<PatientId, Arc<Demographics>>;

/// All that is kept and whole. A damaged row is told of, without whose it is.
pub(super) fn all(conn: &Connection) -> rusqlite::Result<All> {
    read(conn).map(|(whole, _)| whole)
}

/// What is whole, and the keys of rows that are not as they were written, which are told of.
fn read(conn: &Connection) -> rusqlite::Result<(All, Vec<[Value; 2]>)> {
    let (mut whole, mut damaged) = (All::new(), Vec::new());
    let mut rows = conn.prepare("SELECT patient, destination, body, seal FROM demographic ORDER BY 1, 2")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let kept = || {
            let text = |i: usize| row.get_ref(i).ok()?.as_str().ok();
            let (patient, destination, body) = (text(0)?, text(1)?, text(2)?);
            let intact = row.get::<_, i64>(3).ok()? == seal::of_demographic(patient, destination, body);
            let kept = intact.then(|| serde_json::from_str(body).ok()).flatten()?;
            Some((PatientId::new(patient), Arc::from(destination), kept))
        };
        match kept() {
            Some(kept) => whole.push(kept),
            None => damaged.push([row.get(0)?, row.get(1)?]),
        }
    }
    if !damaged.is_empty() {
        tracing::error!(
            code = "WL-J062",
            rows = damaged.len(),
            "Match fields are damaged and count as not given: give them again."
        );
    }
    Ok((whole, damaged))
}

/// Keeps them, in the place of what was there.
pub(super) fn put(
    conn: &Connection,
    patient: &PatientId,
    destination: &str,
    kept: &Introduced,
) -> rusqlite::Result<()> {
    let body = serde_json::to_string(kept).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let sealed = seal::of_demographic(patient.reveal(), destination, &body);
    let put = "INSERT OR REPLACE INTO demographic VALUES (?1, ?2, ?3, ?4)";
    conn.execute(put, params![patient.reveal(), destination, body, sealed]).map(drop)
}

/// Takes them back.
pub(super) fn forget(conn: &Connection, patient: &PatientId, destination: &str) -> rusqlite::Result<()> {
    let gone = "DELETE FROM demographic WHERE patient = ?1 AND destination = ?2";
    conn.execute(gone, params![patient.reveal(), destination]).map(drop)
}

/// Takes all of them back: what was taken back after a copy was made, or behind damage, must not be in force again.
pub(super) fn forget_all(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM demographic", []).map(drop)
}

/// What no destination asks for any more goes, and what is damaged: whose it is cannot be said. Answers whether anything went.
pub(super) fn keep_only_asked(conn: &Connection, creditors: &[Creditor]) -> rusqlite::Result<bool> {
    let asked: HashMap<&str, &[Field]> = creditors.iter().map(|c| (&*c.name, &*c.terms.person)).collect();
    let moment = conn.unchecked_transaction()?;
    let mut changed = false;
    let names: Vec<String> = moment
        .prepare("SELECT DISTINCT destination FROM demographic")?
        .query_map([], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in names.iter().filter(|name| asked.get(name.as_str()).is_none_or(|fields| fields.is_empty())) {
        changed |= moment.execute("DELETE FROM demographic WHERE destination = ?1", [name])? > 0;
    }
    let (whole, damaged) = read(&moment)?;
    let gone = "DELETE FROM demographic WHERE patient IS ?1 AND destination IS ?2";
    for key in damaged {
        changed |= moment.execute(gone, key)? > 0;
    }
    for (patient, destination, kept) in whole {
        let Some(fields) = asked.get(&*destination) else { continue };
        let cut = Introduced { person: kept.person.clone().cut(fields), ..kept.clone() };
        if cut != kept {
            put(&moment, &patient, &destination, &cut)?;
            changed = true;
        }
    }
    moment.commit()?;
    Ok(changed)
}

impl Reader {
    /// Who was named where, and by whom.
    pub fn introduced(&self) -> Result<Vec<(PatientId, Arc<str>, Introduced)>, ReadError> {
        self.with(all)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::{Clock, Stamp};
    use crate::config::JournalSettings;
    use crate::consent::Terms;
    use crate::journal::disk::Machine;
    use crate::journal::page::Pages;
    use crate::journal::salvage::wal_of;
    use crate::journal::{Act, Journal, Key, Vault, open};

    const NAME: &str = "Canarias";

    fn creditor(name: &str, person: &[Field]) -> Creditor {
        let terms = Terms { person: person.into(), ..Terms::open() };
        Creditor { name: name.into(), readings: true, alerts: true, evidence: true, terms }
    }

    fn vault(folder: &Path) -> Vault {
        Vault::new(folder, Key::parse([b'7'; 64].as_slice()))
    }

    fn opened(folder: &Path, creditors: &[Creditor]) -> Journal {
        let settings = JournalSettings { reserve_mib: 1, ..JournalSettings::default() };
        Journal::open(vault(folder), &settings, creditors, Clock::manual(Stamp::at_ms(1))).unwrap().0
    }

    fn patient() -> PatientId {
        PatientId::new("Patient/8f2c")
    }

    async fn introduce(journal: &Journal, destination: &str) {
        let person = Demographics { family: Some(NAME.into()), sex: Some("F".into()), ..Demographics::default() };
        let is = Box::new(Introduced { person, by: "Ada".into(), at_ms: 1 });
        let act = Act::Introduce { patient: patient(), destination: destination.into(), is };
        journal.redress(act).await.unwrap();
    }

    /// A journal that was closed with one person in it.
    async fn left_with_one(folder: &Path, creditors: &[Creditor]) {
        let journal = opened(folder, creditors);
        introduce(&journal, "lab").await;
        journal.close().await;
    }

    fn named(journal: &Journal, destination: &str) -> Option<Arc<Demographics>> {
        journal.consents().gate(destination)?.person(&patient())
    }

    /// How many decrypted pages have the name, and the octets of the WAL.
    fn pages_with_name(folder: &Path) -> (usize, u64) {
        let (file, vault) = (folder.join(open::FILE), vault(folder));
        let pages = Pages::of(&Machine, &file, vault.key()).unwrap();
        let has = |page: &Vec<u8>| page.windows(NAME.len()).any(|w| w == NAME.as_bytes());
        let wal = std::fs::metadata(wal_of(&file)).map_or(0, |m| m.len());
        (pages.numbers().filter_map(|n| pages.get(n)).filter(has).count(), wal)
    }

    #[tokio::test]
    async fn what_was_taken_back_is_on_no_page_of_the_file_and_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let journal = opened(folder.path(), &[creditor("lab", &[Field::PatientName, Field::Sex])]);
        introduce(&journal, "lab").await;
        assert!(named(&journal, "lab").is_some());
        assert_eq!(pages_with_name(folder.path()).0, 1, "the harness sees it");
        let raw =
            [std::fs::read(folder.path().join(open::FILE)), std::fs::read(wal_of(&folder.path().join(open::FILE)))];
        let raw = raw.map(Result::unwrap).concat();
        assert!(!raw.windows(NAME.len()).any(|w| w == NAME.as_bytes()), "it is encrypted on the disk");
        let act = Act::Forget { patient: patient(), destination: "lab".into(), by: "Ada".into() };
        journal.redress(act).await.unwrap();
        assert_eq!(named(&journal, "lab"), None);
        assert_eq!(pages_with_name(folder.path()), (0, 0), "also the log is empty");
        journal.close().await;
    }

    #[tokio::test]
    async fn what_nobody_asks_for_any_more_is_gone_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let both = [Field::PatientName, Field::Sex];
        let journal = opened(folder.path(), &[creditor("lab", &both), creditor("ward", &both)]);
        introduce(&journal, "lab").await;
        introduce(&journal, "ward").await;
        journal.close().await;
        drop(journal);
        let journal = opened(folder.path(), &[creditor("lab", &[Field::Sex]), creditor("ward", &[])]);
        let kept = journal.reader().introduced().unwrap();
        let sex = Demographics { sex: Some("F".into()), ..Demographics::default() };
        assert!(matches!(&kept[..], [(p, to, is)] if *p == patient() && **to == *"lab" && is.person == sex));
        assert_eq!(named(&journal, "lab").as_deref(), Some(&sex));
        assert_eq!(pages_with_name(folder.path()).0, 0);
        journal.close().await;
        drop(journal);
        // A field that is asked for now, and was not given: held, not guessed.
        let journal = opened(folder.path(), &[creditor("lab", &both)]);
        assert_eq!(named(&journal, "lab"), None);
        assert!(journal.consents().gate("lab").unwrap().lacks_person(&patient()).is_some());
        journal.close().await;
    }

    #[tokio::test]
    async fn a_damaged_row_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let lab = [creditor("lab", &[Field::PatientName, Field::Sex])];
        left_with_one(folder.path(), &lab).await;
        let conn = open::connect(&Machine, &folder.path().join(open::FILE), vault(folder.path()).key()).unwrap();
        let damage = "UPDATE demographic SET patient = 'Patient/other'";
        assert_eq!(conn.execute(damage, []).unwrap(), 1);
        drop(conn);
        let journal = opened(folder.path(), &lab);
        assert_eq!(named(&journal, "lab"), None);
        let other = PatientId::new("Patient/other");
        assert!(journal.consents().gate("lab").unwrap().person(&other).is_none(), "in nobody else's name");
        assert_eq!(pages_with_name(folder.path()).0, 0, "nobody could take it back any more");
        journal.close().await;
    }

    /// A taking back may be among what is lost.
    #[tokio::test]
    async fn a_salvage_that_lost_a_part_of_the_table_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let lab = [creditor("lab", &[Field::PatientName, Field::Sex])];
        left_with_one(folder.path(), &lab).await;
        let (file, vault) = (folder.path().join(open::FILE), vault(folder.path()));
        let page = {
            let pages = Pages::of(&Machine, &file, vault.key()).unwrap();
            let has = |page: Vec<u8>| page.windows(NAME.len()).any(|w| w == NAME.as_bytes());
            pages.numbers().find(|n| pages.get(*n).is_some_and(has)).unwrap()
        };
        let mut octets = std::fs::read(&file).unwrap();
        let at = (page as usize - 1) * super::super::page::PAGE;
        octets[at + 100..at + 200].fill(0x5A);
        std::fs::write(&file, octets).unwrap();
        let settings = JournalSettings { reserve_mib: 1, ..JournalSettings::default() };
        let clock = Clock::manual(Stamp::at_ms(1));
        let (journal, before) = Journal::open(&vault, &settings, &lab, clock).unwrap();
        assert!(before.salvaged.is_some());
        assert_eq!((named(&journal, "lab"), journal.reader().introduced().unwrap().len()), (None, 0));
        introduce(&journal, "lab").await;
        assert!(named(&journal, "lab").is_some());
        journal.close().await;
    }
}
