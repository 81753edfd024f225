//! A glucose measurement (2A18) that announces its context (2A34): both become one value, as they say one thing.
//!
//! Pure. A measurement waits for the next value only, and the link's end loses nothing: what was not handed on is not
//! committed, and is asked for again. Must never: put together what has not the same record number.

use bytes::Bytes;

use crate::codec::glucose::{announces_context, is_context, sequence};
use crate::limits::CHARACTERISTIC_BYTES_MAX;

const MEASUREMENT: &str = "2A18";
const CONTEXT: &str = "2A34";

/// The measurement that waits.
#[derive(Debug, Default)]
pub(super) struct Together(Option<Bytes>);

/// A value to hand on: its characteristic, its octets, and how many of these are of the record itself.
pub(super) type Value<'a> = (&'a str, Bytes, usize);

impl Together {
    /// A value came: what is to be handed on now, in order.
    pub(super) fn take<'a>(&mut self, uuid: &'a str, bytes: Bytes) -> Vec<Value<'a>> {
        let waiting = self.0.take();
        if let (CONTEXT, Some(measurement)) = (uuid, &waiting)
            && sequence(measurement).is_some_and(|n| sequence(&bytes) == Some(n))
            // One that cannot be read must not take its measurement along.
            && is_context(&bytes)
            && measurement.len() + bytes.len() <= CHARACTERISTIC_BYTES_MAX
        {
            return vec![(MEASUREMENT, [&measurement[..], &bytes].concat().into(), measurement.len())];
        }
        let mut values: Vec<Value<'a>> = waiting.map(alone).into_iter().collect();
        match uuid == MEASUREMENT && announces_context(&bytes) {
            true => self.0 = Some(bytes),
            false => {
                let whole = bytes.len();
                values.push((uuid, bytes, whole));
            }
        }
        values
    }

    /// Nothing follows any more.
    pub(super) fn flush(&mut self) -> Option<Value<'static>> {
        self.0.take().map(alone)
    }
}

fn alone(measurement: Bytes) -> Value<'static> {
    let whole = measurement.len();
    (MEASUREMENT, measurement, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_waits_for_its_own_context_and_for_one_value_only() {
        let mut together = Together::default();
        let mut take = |uuid, octets: &[u8]| {
            let values = together.take(uuid, Bytes::copy_from_slice(octets));
            values.into_iter().map(|(uuid, bytes, own)| (uuid, bytes.to_vec(), own)).collect::<Vec<_>>()
        };
        let (plain, first, second) = ([0, 1, 0], [0x10, 2, 0, 9], [0x10, 3, 0, 9]);
        assert_eq!(take(MEASUREMENT, &plain), [(MEASUREMENT, plain.to_vec(), 3)]);
        assert_eq!(take(MEASUREMENT, &first), []);
        assert_eq!(take(CONTEXT, &[2, 2, 0, 1]), [(MEASUREMENT, [&first[..], &[2, 2, 0, 1]].concat(), 4)]);
        // The context of another one, or none.
        assert_eq!(take(MEASUREMENT, &first), []);
        assert_eq!(take(MEASUREMENT, &second), [(MEASUREMENT, first.to_vec(), 4)]);
        let of_first = [(MEASUREMENT, second.to_vec(), 4), (CONTEXT, vec![2, 2, 0, 1], 4)];
        assert_eq!(take(CONTEXT, &[2, 2, 0, 1]), of_first);
        assert_eq!(take(CONTEXT, &[2, 2]), [(CONTEXT, vec![2, 2], 2)]);
        // Cut short, or with an octet too many: the measurement stays whole.
        for broken in [&[2, 2, 0][..], &[2, 2, 0, 1, 9]] {
            assert_eq!(take(MEASUREMENT, &first), []);
            assert_eq!(
                take(CONTEXT, broken),
                [(MEASUREMENT, first.to_vec(), 4), (CONTEXT, broken.to_vec(), broken.len())]
            );
        }
        assert_eq!(take(MEASUREMENT, &first), []);
        assert_eq!(together.flush().map(|(_, bytes, _)| bytes.to_vec()), Some(first.to_vec()));
        assert!(together.flush().is_none());
    }
}
