//! Rows of the leaf pages of tables, found without the way that leads to them: for a salvage.
//! Layout: SQLite's file format, §1.5 (pages), §1.6 (cells), §1.8 (pointer map), §2.1 (records).
//!
//! Promises: only pages that a table uses now are read; a row is given whole or not at all.
//! Must never: give what a free page still holds of rows that were changed or removed.

use std::collections::HashMap;

use rusqlite::types::Value;

use super::page::Pages;

/// A leaf of a table.
const LEAF: u8 = 13;
/// The pointer map's kinds of pages that hold rows: a root, and any other page of a tree.
const IN_USE: [u8; 2] = [1, 5];
/// A longer row is left: nothing that the journal keeps is.
const ROW_MAX: usize = 1 << 20;

/// A row: its number, and its columns as they are stored (the number itself is NULL there).
pub(super) struct Found {
    pub(super) row: i64,
    pub(super) columns: Vec<Value>,
}

/// Goes through all leaves while `goes_on`. Answers whether it came to the end.
pub(super) fn walk(
    pages: &Pages<'_>,
    goes_on: impl Fn() -> bool,
    mut found: impl FnMut(Found) -> rusqlite::Result<()>,
) -> rusqlite::Result<bool> {
    let mut maps: HashMap<u32, Option<Vec<u8>>> = HashMap::new();
    for number in pages.numbers() {
        if !goes_on() {
            return Ok(false);
        }
        let Some(page) = pages.get(number) else { continue };
        if page.first() != Some(&LEAF) || !in_use(pages, &mut maps, number, page.len()) {
            continue;
        }
        let cells = usize::from(u16_at(&page, 3).unwrap_or(0));
        for cell in 0..cells {
            let Some(at) = u16_at(&page, 8 + 2 * cell) else { break };
            if let Some(row) = cell_at(pages, &page, usize::from(at)) {
                found(row)?;
            }
        }
    }
    Ok(true)
}

/// By the pointer map: one of its pages stands before the pages that it speaks of, 5 octets for each.
fn in_use(pages: &Pages<'_>, maps: &mut HashMap<u32, Option<Vec<u8>>>, number: u32, usable: usize) -> bool {
    if number < 2 {
        return false;
    }
    let each = u32::try_from(usable / 5).unwrap_or(0) + 1;
    let map = (number - 2) / each * each + 2;
    if map == number {
        return false;
    }
    if maps.len() > 1 {
        maps.retain(|at, _| *at == map);
    }
    let entries = maps.entry(map).or_insert_with(|| pages.get(map));
    if entries.is_none() {
        // What became of a page since the WAL began, the WAL's own map would say.
        return pages.is_in_wal(number);
    }
    let at = usize::try_from(number - map - 1).unwrap_or(usize::MAX).saturating_mul(5);
    entries.as_ref().and_then(|entries| entries.get(at)).is_some_and(|kind| IN_USE.contains(kind))
}

/// A cell: length of the row, its number, the row itself; what does not fit goes on in other pages.
fn cell_at(pages: &Pages<'_>, page: &[u8], at: usize) -> Option<Found> {
    let (length, at) = varint(page, at)?;
    let (row, at) = varint(page, at)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= ROW_MAX)?;
    let usable = page.len();
    let here = stays_here(length, usable)?;
    let mut record = page.get(at..at.checked_add(here)?)?.to_vec();
    if here < length {
        let mut next = u32_at(page, at + here)?;
        while record.len() < length {
            let more = pages.get(next)?;
            let part = (length - record.len()).min(usable - 4);
            record.extend_from_slice(more.get(4..4 + part)?);
            next = u32_at(&more, 0)?;
        }
    }
    Some(Found { row, columns: columns(&record)? })
}

/// How much of a row stands in its leaf (§1.6).
fn stays_here(length: usize, usable: usize) -> Option<usize> {
    let most = usable.checked_sub(35)?;
    if length <= most {
        return Some(length);
    }
    let least = usable.checked_sub(12)? * 32 / 255 - 23;
    let stays = least + (length - least) % usable.checked_sub(4)?;
    Some(if stays <= most { stays } else { least })
}

/// A record: the length of its head, the kind of each column, the columns (§2.1).
fn columns(record: &[u8]) -> Option<Vec<Value>> {
    let (head, mut at) = varint(record, 0)?;
    let head = usize::try_from(head).ok().filter(|head| *head <= record.len())?;
    let mut body = head;
    let mut columns = Vec::new();
    while at < head {
        let (kind, next) = varint(record, at)?;
        let (value, length) = column(record, body, kind)?;
        columns.push(value);
        (at, body) = (next, body.checked_add(length)?);
    }
    (body == record.len() && at == head).then_some(columns)
}

fn column(record: &[u8], at: usize, kind: i64) -> Option<(Value, usize)> {
    let length = match kind {
        0 | 8 | 9 => 0,
        1..=4 => usize::try_from(kind).ok()?,
        5 => 6,
        6 | 7 => 8,
        12.. => usize::try_from((kind - 12) / 2).ok()?,
        _ => return None,
    };
    let octets = record.get(at..at.checked_add(length)?)?;
    let value = match kind {
        0 => Value::Null,
        8 | 9 => Value::Integer(kind - 8),
        1..=6 => Value::Integer(integer(octets)),
        7 => Value::Real(f64::from_be_bytes(octets.try_into().ok()?)),
        _ if kind % 2 == 0 => Value::Blob(octets.to_vec()),
        _ => Value::Text(std::str::from_utf8(octets).ok()?.to_owned()),
    };
    Some((value, length))
}

/// Big-endian, with its sign.
fn integer(octets: &[u8]) -> i64 {
    let start = if octets.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
    octets.iter().fold(start, |n, octet| n << 8 | i64::from(*octet))
}

fn varint(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let mut n: u64 = 0;
    for (i, octet) in bytes.get(at..)?.iter().take(9).enumerate() {
        if i == 8 {
            return Some(((n << 8 | u64::from(*octet)).cast_signed(), at + 9));
        }
        n = n << 7 | u64::from(octet & 0x7F);
        if octet & 0x80 == 0 {
            return Some((n.cast_signed(), at + i + 1));
        }
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
