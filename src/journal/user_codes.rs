//! Codes of the users of shared scales in their table, each with what its scale said of it.
//!
//! Promises: sealed, and only in a journal that is encrypted; what was forgotten, or given anew, is gone from the file and its
//! WAL; what a scale says of an earlier code does not concern the one that is there. Must never: give out a damaged row.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::reader::{ReadError, Reader};
use super::seal;
use crate::deed::{Deed, Did};
use crate::reading::{DeviceId, PatientId};
use crate::user_code::{Codes, Given, Verdict};

/// What happens to a code.
#[derive(Clone, Debug)]
pub enum Change {
    /// A person gives it; one that was there is replaced.
    Give {
        /// The scale.
        device: DeviceId,
        /// The user's number on it.
        slot: u8,
        /// The code, and who gave it.
        given: Given,
        /// Whose slot it is, as far as the box knows.
        patient: Option<PatientId>,
    },
    /// A person takes it away.
    Forget {
        /// The scale.
        device: DeviceId,
        /// The user's number on it.
        slot: u8,
        /// Who does.
        by: String,
        /// Whose slot it is, as far as the box knows.
        patient: Option<PatientId>,
    },
    /// The scale said something of it.
    Said {
        /// The scale.
        device: DeviceId,
        /// The user's number on it.
        slot: u8,
        /// When the code was given that it spoke of.
        given_ms: i64,
        /// What, and when.
        said: (Verdict, i64),
    },
}

impl Change {
    /// Something that must not stay anywhere was there before it.
    pub(super) fn takes_away(&self) -> bool {
        !matches!(self, Self::Said { .. })
    }

    /// What is to be remembered of it.
    pub(super) fn deed(&self) -> Option<Deed> {
        match self {
            Self::Give { given, patient, .. } => Some(Did::CodeGiven.by(Some(&given.by)).about(patient)),
            Self::Forget { by, patient, .. } => Some(Did::CodeForgotten.by(Some(by)).about(patient)),
            Self::Said { .. } => None,
        }
    }

    pub(super) fn apply(&self, conn: &Connection) -> rusqlite::Result<()> {
        match self {
            Self::Give { device, slot, given, .. } => put(conn, device, *slot, given),
            Self::Forget { device, slot, .. } => {
                let gone = "DELETE FROM user_code WHERE device = ?1 AND slot = ?2";
                conn.execute(gone, params![&*device.0, slot]).map(drop)
            }
            Self::Said { device, slot, given_ms, said } => {
                let Some(before) = one(conn, device, *slot)?.filter(|given| given.at_ms == *given_ms) else {
                    return Ok(());
                };
                put(conn, device, *slot, &Given { said: Some(*said), ..before })
            }
        }
    }
}

fn put(conn: &Connection, device: &DeviceId, slot: u8, given: &Given) -> rusqlite::Result<()> {
    let body = serde_json::to_string(given).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let sealed = seal::of_user_code(&device.0, slot, &body);
    let put = "INSERT OR REPLACE INTO user_code VALUES (?1, ?2, ?3, ?4)";
    conn.execute(put, params![&*device.0, slot, body, sealed]).map(drop)
}

fn one(conn: &Connection, device: &DeviceId, slot: u8) -> rusqlite::Result<Option<Given>> {
    let look = "SELECT body, seal FROM user_code WHERE device = ?1 AND slot = ?2";
    let row = conn.query_row(look, params![&*device.0, slot], |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?)));
    Ok(row.optional()?.and_then(|(body, sealed)| intact(&device.0, slot, &body, sealed)))
}

fn intact(device: &str, slot: u8, body: &str, sealed: i64) -> Option<Given> {
    (sealed == seal::of_user_code(device, slot, body)).then(|| serde_json::from_str(body).ok()).flatten()
}

/// What is whole, and the keys of rows that are not as they were written, which are told of.
fn read(conn: &Connection) -> rusqlite::Result<(Codes, Vec<[Value; 2]>)> {
    let (mut whole, mut damaged) = (Codes::new(), Vec::new());
    let mut rows = conn.prepare("SELECT device, slot, body, seal FROM user_code")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let kept = || {
            let text = |i: usize| row.get_ref(i).ok()?.as_str().ok();
            let (device, slot) = (text(0)?, row.get::<_, u8>(1).ok()?);
            let given = intact(device, slot, text(2)?, row.get(3).ok()?)?;
            Some((DeviceId(Arc::from(device)), slot, given))
        };
        match kept() {
            Some((device, slot, given)) => drop(whole.entry(device).or_default().insert(slot, given)),
            None => damaged.push([row.get(0)?, row.get(1)?]),
        }
    }
    if !damaged.is_empty() {
        let rows = damaged.len();
        tracing::error!(code = "WL-J063", rows, "Codes of scales' users are damaged and count as not given.");
    }
    Ok((whole, damaged))
}

/// All of them go: one that was taken away after a copy was made, or behind damage, must not be in force again; nor must one
/// be tried again of which it is not known any more that its scale refused it.
pub(super) fn forget_all(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM user_code", []).map(drop)
}

/// At a start: what is damaged goes, and everything where nothing would be encrypted. Answers whether anything went.
pub(super) fn tidy(conn: &Connection, encrypted: bool) -> rusqlite::Result<bool> {
    if !encrypted {
        return Ok(conn.execute("DELETE FROM user_code", [])? > 0);
    }
    let (_, damaged) = read(conn)?;
    let any = !damaged.is_empty();
    for key in damaged {
        conn.execute("DELETE FROM user_code WHERE device IS ?1 AND slot IS ?2", key)?;
    }
    Ok(any)
}

impl Reader {
    /// All codes that are kept.
    pub fn user_codes(&self) -> Result<Codes, ReadError> {
        self.with(|conn| read(conn).map(|(whole, _)| whole))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::{Clock, Stamp};
    use crate::config::JournalSettings;
    use crate::journal::disk::Machine;
    use crate::journal::page::Pages;
    use crate::journal::salvage::wal_of;
    use crate::journal::{Act, Journal, Key, Vault, open};
    use crate::user_code::UserCode;

    /// As it stands in a row: four digits could be anywhere.
    const CODE: &str = "\"code\":\"4711\"";

    fn vault(folder: &Path) -> Vault {
        Vault::new(folder, Key::parse([b'7'; 64].as_slice()))
    }

    fn opened(vault: Vault) -> Journal {
        let settings = JournalSettings { reserve_mib: 1, ..JournalSettings::default() };
        Journal::open(vault, &settings, &[], Clock::manual(Stamp::at_ms(1))).unwrap().0
    }

    fn scale() -> DeviceId {
        DeviceId("ble:C0:26:DF:00:11:22".into())
    }

    async fn change(journal: &Journal, change: Change) {
        journal.redress(Act::UserCode(Box::new(change))).await.unwrap();
    }

    async fn give(journal: &Journal, slot: u8, code: &str, at_ms: i64) {
        let given = Given { code: UserCode::parse(code).unwrap(), by: "Ada".into(), at_ms, said: None };
        change(journal, Change::Give { device: scale(), slot, given, patient: None }).await;
    }

    async fn said(journal: &Journal, slot: u8, given_ms: i64, verdict: Verdict) {
        change(journal, Change::Said { device: scale(), slot, given_ms, said: (verdict, 9) }).await;
    }

    fn kept(journal: &Journal) -> Vec<(u8, Option<Verdict>)> {
        let all = journal.reader().user_codes().unwrap();
        let of = |(slot, given): (&u8, &Given)| (*slot, given.said.map(|said| said.0));
        all.get(&scale()).into_iter().flatten().map(of).collect()
    }

    /// Decrypted pages that hold it.
    fn pages_with_code(folder: &Path) -> Vec<u32> {
        let (file, vault) = (folder.join(open::FILE), vault(folder));
        let pages = Pages::of(&Machine, &file, vault.key()).unwrap();
        let has = |page: Vec<u8>| page.windows(CODE.len()).any(|w| w == CODE.as_bytes());
        pages.numbers().filter(|n| pages.get(*n).is_some_and(has)).collect()
    }

    /// Octets of the log, in which earlier states of pages stand.
    fn log(folder: &Path) -> u64 {
        std::fs::metadata(wal_of(&folder.join(open::FILE))).map_or(0, |m| m.len())
    }

    #[tokio::test]
    async fn what_a_scale_says_concerns_the_code_that_it_heard() {
        let folder = tempfile::tempdir().unwrap();
        let journal = opened(vault(folder.path()));
        give(&journal, 1, "4711", 100).await;
        give(&journal, 2, "0815", 100).await;
        said(&journal, 2, 100, Verdict::Refused).await;
        said(&journal, 1, 99, Verdict::Refused).await;
        said(&journal, 7, 100, Verdict::Accepted).await;
        assert_eq!(kept(&journal), [(1, None), (2, Some(Verdict::Refused))]);
        give(&journal, 2, "0816", 200).await;
        said(&journal, 2, 100, Verdict::Refused).await;
        said(&journal, 1, 100, Verdict::Accepted).await;
        assert_eq!(kept(&journal), [(1, Some(Verdict::Accepted)), (2, None)], "a new code has a new chance");
        journal.close().await;
        drop(journal);
        let journal = opened(vault(folder.path()));
        assert_eq!(kept(&journal), [(1, Some(Verdict::Accepted)), (2, None)], "also after a restart");
        journal.close().await;
    }

    #[tokio::test]
    async fn a_code_that_is_forgotten_or_given_anew_is_on_no_page() {
        let folder = tempfile::tempdir().unwrap();
        let journal = opened(vault(folder.path()));
        give(&journal, 1, "4711", 100).await;
        assert_eq!(pages_with_code(folder.path()).len(), 1, "the harness sees it");
        let raw = std::fs::read(folder.path().join(open::FILE)).unwrap();
        assert!(!raw.windows(CODE.len()).any(|w| w == CODE.as_bytes()), "it is encrypted on the disk");
        give(&journal, 1, "0815", 200).await;
        assert_eq!((pages_with_code(folder.path()), log(folder.path())), (vec![], 0));
        give(&journal, 1, "4711", 300).await;
        change(&journal, Change::Forget { device: scale(), slot: 1, by: "Ada".into(), patient: None }).await;
        assert_eq!((kept(&journal), pages_with_code(folder.path()), log(folder.path())), (vec![], vec![], 0));
        journal.close().await;
    }

    #[tokio::test]
    async fn a_damaged_row_is_not_tried() {
        let folder = tempfile::tempdir().unwrap();
        let journal = opened(vault(folder.path()));
        give(&journal, 1, "4711", 100).await;
        give(&journal, 2, "0815", 100).await;
        journal.close().await;
        drop(journal);
        let conn = open::connect(&Machine, &folder.path().join(open::FILE), vault(folder.path()).key()).unwrap();
        // The code of another user.
        let damage = "UPDATE user_code SET slot = 3 WHERE slot = 1";
        assert_eq!(conn.execute(damage, []).unwrap(), 1);
        drop(conn);
        let journal = opened(vault(folder.path()));
        assert_eq!(kept(&journal), [(2, None)]);
        assert_eq!(pages_with_code(folder.path()), [0; 0], "nobody could take it away any more");
        journal.close().await;
    }

    /// It was taken away after the copy was made, or refused.
    #[tokio::test]
    async fn a_backup_that_was_put_back_brings_no_code() {
        let folder = tempfile::tempdir().unwrap();
        let journal = opened(vault(folder.path()));
        give(&journal, 1, "4711", 100).await;
        journal.close().await;
        drop(journal);
        std::fs::write(open::restored_in(folder.path()), "").unwrap();
        let journal = opened(vault(folder.path()));
        assert_eq!((kept(&journal), pages_with_code(folder.path())), (vec![], vec![]));
        journal.close().await;
    }

    /// That a scale refused one may be among what is lost.
    #[tokio::test]
    async fn a_salvage_that_lost_a_part_of_the_table_keeps_no_code() {
        let folder = tempfile::tempdir().unwrap();
        let journal = opened(vault(folder.path()));
        for slot in 1..=100 {
            give(&journal, slot, "4711", 100).await;
        }
        journal.close().await;
        drop(journal);
        // Not the root, behind which nothing would be found.
        let pages = pages_with_code(folder.path());
        assert!(pages.len() > 2, "what is on the other pages could be saved");
        let file = folder.path().join(open::FILE);
        let page = pages[pages.len() - 1];
        let mut octets = std::fs::read(&file).unwrap();
        let at = (page as usize - 1) * crate::journal::page::PAGE;
        octets[at + 100..at + 200].fill(0x5A);
        std::fs::write(&file, octets).unwrap();
        let journal = opened(vault(folder.path()));
        assert_eq!(kept(&journal), []);
        give(&journal, 1, "4711", 200).await;
        assert_eq!(kept(&journal), [(1, None)]);
        journal.close().await;
    }

    #[test]
    fn a_journal_that_is_not_encrypted_any_more_has_no_codes() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("schema/0010.sql")).unwrap();
        let given = Given { code: UserCode::parse("4711").unwrap(), by: "Ada".into(), at_ms: 1, said: None };
        put(&conn, &scale(), 1, &given).unwrap();
        assert!(!tidy(&conn, true).unwrap());
        assert!(tidy(&conn, false).unwrap());
        assert_eq!(read(&conn).unwrap().0, Codes::new());
    }
}
