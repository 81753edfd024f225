//! The schema and its steps. Each step is one transaction; `user_version` counts them.
//!
//! Promises: a kill in the middle of a step leaves the step before it. Must never: open what a newer version wrote,
//! or change a step that was released.

use rusqlite::Connection;

use super::open::OpenError;
use super::seal;

/// `WRDL`: tells a Wardline journal from any other SQLite file.
pub(super) const APPLICATION_ID: i32 = 0x5752_444C;

/// One file per step; the file `000N.sql` leads from version N−1 to N.
const STEPS: &[&str] = &[
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
    include_str!("schema/0005.sql"),
    include_str!("schema/0006.sql"),
    include_str!("schema/0007.sql"),
    include_str!("schema/0008.sql"),
    include_str!("schema/0009.sql"),
    include_str!("schema/0010.sql"),
];

/// The step that seals rows.
const SEALED_FROM: usize = 3;

/// The version that this gateway writes.
pub(super) const VERSION: usize = STEPS.len();

/// Refuses foreign and newer files. Reads only. Answers the version; 0: empty.
pub(super) fn version(conn: &Connection) -> Result<usize, OpenError> {
    let number = |pragma: &str| conn.query_row(pragma, [], |r| r.get::<_, i32>(0));
    let (application, version) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    match usize::try_from(version) {
        Ok(0) if application == 0 && tables == 0 => Ok(0),
        Ok(VERSION) if application == APPLICATION_ID => Ok(VERSION),
        _ if tables > 0 && is_ours(conn)? => Err(OpenError::Damaged("its version is not what was written".into())),
        Ok(v) if application == APPLICATION_ID && (1..VERSION).contains(&v) => Ok(v),
        Ok(found) if application == APPLICATION_ID => Err(OpenError::Newer { found, known: VERSION }),
        _ => Err(OpenError::Foreign),
    }
}

/// Whether the tables are those of this version, whatever number the file has.
fn is_ours(conn: &Connection) -> rusqlite::Result<bool> {
    let tables = |conn: &Connection| -> rusqlite::Result<Vec<String>> {
        conn.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")?
            .query_map([], |r| r.get(0))?
            .collect()
    };
    let fresh = Connection::open_in_memory()?;
    STEPS.iter().try_for_each(|step| fresh.execute_batch(step))?;
    Ok(tables(conn)? == tables(&fresh)?)
}

/// Takes the remaining steps.
pub(super) fn migrate(conn: &Connection, from: usize) -> Result<(), OpenError> {
    for (done, step) in STEPS.iter().enumerate().skip(from) {
        let version = done + 1;
        conn.execute_batch(&format!("BEGIN IMMEDIATE; {step}"))?;
        if version == SEALED_FROM {
            seal::all_but_readings(conn)?;
        }
        conn.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}; COMMIT;"
        ))?;
    }
    Ok(())
}
