//! Checksums of rows, as SQLite has none of its pages: a bit that flipped is seen when the row is read.
//!
//! Promises: any change of a sealed value, or a row in another's place, is found with all but certainty (1 in 2^64).
//! It is no protection against a person: see `chain.rs`.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Row, params};

/// A 64-bit sum over values with their types and lengths. Each step is a bijection, so that a change of one word is never
/// lost.
#[derive(Clone, Copy)]
pub(super) struct Seal(u64);

impl Seal {
    pub(super) fn new(row: i64) -> Self {
        Self(0).and(ValueRef::Integer(row))
    }

    fn word(self, word: u64) -> Self {
        Self((self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29))
    }

    fn octets(self, kind: u64, octets: &[u8]) -> Self {
        let (words, rest) = octets.as_chunks::<8>();
        let sum = words.iter().fold(self.word(kind).word(octets.len() as u64), |s, w| s.word(u64::from_le_bytes(*w)));
        sum.word(rest.iter().fold(0, |word, octet| word << 8 | u64::from(*octet)))
    }

    pub(super) fn and(self, value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => self.word(1),
            ValueRef::Integer(n) => self.word(2).word(n.cast_unsigned()),
            ValueRef::Real(n) => self.word(3).word(n.to_bits()),
            ValueRef::Text(text) => self.octets(4, text),
            ValueRef::Blob(blob) => self.octets(5, blob),
        }
    }

    pub(super) fn number(self) -> i64 {
        self.0.cast_signed()
    }
}

/// Of a span of settled readings.
pub(super) fn of_span(destination: i64, first: i64, last: i64) -> i64 {
    [first, last].into_iter().fold(Seal::new(destination), |seal, n| seal.and(ValueRef::Integer(n))).number()
}

/// Of an alert event.
pub(super) fn of_event(id: i64, body: &[u8]) -> i64 {
    Seal::new(id).and(ValueRef::Text(body)).number()
}

/// Of a row of a key and what is kept under it.
pub(super) fn of_texts(key: &str, body: &str) -> i64 {
    let texts = [key, body];
    texts.into_iter().fold(Seal::new(0), |seal, text| seal.and(ValueRef::Text(text.as_bytes()))).number()
}

/// Of what was recorded of a patient's consents for a destination.
pub(super) fn of_consent(patient: &str, destination: &str, history: &str) -> i64 {
    let texts = [patient, destination, history];
    texts.into_iter().fold(Seal::new(1), |seal, text| seal.and(ValueRef::Text(text.as_bytes()))).number()
}

/// Of what a destination finds a patient by.
pub(super) fn of_demographic(patient: &str, destination: &str, body: &str) -> i64 {
    let texts = [patient, destination, body];
    texts.into_iter().fold(Seal::new(2), |seal, text| seal.and(ValueRef::Text(text.as_bytes()))).number()
}

/// Of the code of a scale's user.
pub(super) fn of_user_code(device: &str, slot: u8, body: &str) -> i64 {
    let texts = [device, body];
    let sealed = texts.into_iter().fold(Seal::new(3), |seal, text| seal.and(ValueRef::Text(text.as_bytes())));
    sealed.and(ValueRef::Integer(slot.into())).number()
}

/// Of a destination: who it is, and what it is not owed.
fn of_destination(id: i64, name: &str, absent_from: Option<i64>) -> i64 {
    let absent_from = absent_from.map_or(ValueRef::Null, ValueRef::Integer);
    Seal::new(id).and(ValueRef::Text(name.as_bytes())).and(absent_from).number()
}

/// Seals the destinations as they stand.
pub(super) fn destinations(conn: &Connection) -> rusqlite::Result<()> {
    let mut all = conn.prepare("SELECT id, name, absent_from_reading FROM destination")?;
    let mut put = conn.prepare("UPDATE destination SET seal = ?2 WHERE id = ?1")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        put.execute(params![id, of_destination(id, row.get_ref(1)?.as_str()?, row.get(2)?)])?;
    }
    Ok(())
}

/// Seals what an earlier version left unsealed; the readings, which are many, stay as they are: see the step 0003.
pub(super) fn all_but_readings(conn: &Connection) -> rusqlite::Result<()> {
    destinations(conn)?;
    let mut put = conn.prepare("UPDATE settled SET seal = ?3 WHERE destination = ?1 AND first_reading = ?2")?;
    let mut spans = conn.prepare("SELECT destination, first_reading, last_reading FROM settled")?;
    let spans: Vec<(i64, i64, i64)> =
        spans.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<rusqlite::Result<_>>()?;
    for (destination, first, last) in spans {
        put.execute([destination, first, of_span(destination, first, last)])?;
    }
    let mut put = conn.prepare("UPDATE alert_event SET seal = ?2 WHERE id = ?1")?;
    let mut events = conn.prepare("SELECT id, body FROM alert_event")?;
    let mut rows = events.query([])?;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        put.execute([id, of_event(id, row.get_ref(1)?.as_bytes()?)])?;
    }
    Ok(())
}

/// Whether what decides about debts is as it was written: destinations and spans of settled readings.
pub(super) fn debts_are_intact(conn: &Connection) -> rusqlite::Result<bool> {
    let mut all = conn.prepare("SELECT id, name, absent_from_reading, seal FROM destination")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        if !destination_is_intact(row, 0) {
            return Ok(false);
        }
    }
    let mut all = conn.prepare("SELECT destination, first_reading, last_reading, seal FROM settled")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        if !span_is_intact(row, 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Id, name, `absent_from_reading`, seal, from the column `at` on.
pub(super) fn destination_is_intact(row: &Row<'_>, at: usize) -> bool {
    let read = || Ok::<_, Error>((row.get(at)?, row.get::<_, String>(at + 1)?, row.get(at + 2)?, row.get(at + 3)?));
    read().is_ok_and(|(id, name, absent_from, seal)| Some(of_destination(id, &name, absent_from)) == seal)
}

/// Destination, first and last reading, seal, from the column `at` on.
pub(super) fn span_is_intact(row: &Row<'_>, at: usize) -> bool {
    let read = || Ok::<_, Error>((row.get(at)?, row.get(at + 1)?, row.get(at + 2)?, row.get(at + 3)?));
    read().is_ok_and(|(to, first, last, seal)| first <= last && Some(of_span(to, first, last)) == seal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_and_any_shift_between_values_is_seen() {
        let of = |a: &[u8], b: &[u8]| Seal::new(7).and(ValueRef::Text(a)).and(ValueRef::Text(b)).number();
        let (a, b) = (b"heart-rate".to_vec(), b"[[\"value\",\"72\",\"/min\"]]".to_vec());
        let sealed = of(&a, &b);
        for bit in 0..a.len() * 8 {
            let mut flipped = a.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of(&flipped, &b), sealed);
        }
        assert_ne!(of(b"heart-rat", b"e[[\"value\",\"72\",\"/min\"]]"), sealed);
        assert_ne!(Seal::new(8).and(ValueRef::Text(&a)).and(ValueRef::Text(&b)).number(), sealed);
    }
}
