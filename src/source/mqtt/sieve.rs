//! Shortens messages that are too large while they stream in. Pure.
//!
//! A message above the limit would end the connection; the broker would send it again on the next one, and nothing
//! behind it would ever come. Shortened, it becomes a reject that is kept and acknowledged.
//! Promises: everything else passes unchanged; nothing is buffered here.

use crate::limits;

/// Remaining length (MQTT 2.1.4) of the largest packet that passes whole.
const WHOLE_MAX: usize = limits::MQTT_PACKET_BYTES_MAX as usize;
const PUBLISH: u8 = 3;

/// Where in the stream of packets we are.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    /// Octets of the present packet that pass.
    pass: usize,
    /// Octets of it that are left out after those.
    skip: usize,
}

/// Neither a message nor a length that MQTT knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotMqtt;

impl Sieve {
    /// Copies what passes from `input` to the front of `output`; answers how much was taken and how much was given.
    /// Takes all, unless `output` is full or the last octets are part of a header.
    pub(super) fn sift(&mut self, input: &mut [u8], output: &mut [u8]) -> Result<(usize, usize), NotMqtt> {
        let (mut taken, mut given) = (0, 0);
        while let Some(rest) = input.get_mut(taken..).filter(|r| !r.is_empty()) {
            if self.pass > 0 {
                let room = output.get_mut(given..).unwrap_or_default();
                let n = self.pass.min(rest.len()).min(room.len());
                if n == 0 {
                    break;
                }
                if let (Some(from), Some(to)) = (rest.get(..n), room.get_mut(..n)) {
                    to.copy_from_slice(from);
                }
                self.pass -= n;
                (taken, given) = (taken + n, given + n);
            } else if self.skip > 0 {
                let n = self.skip.min(rest.len());
                self.skip -= n;
                taken += n;
            } else if !self.begin(rest)? {
                break;
            }
        }
        Ok((taken, given))
    }

    /// Reads the header of the next packet, and shortens it if need be; `false`: it is not here whole.
    fn begin(&mut self, packet: &mut [u8]) -> Result<bool, NotMqtt> {
        let Some((kind, rest)) = packet.split_first_mut() else { return Ok(false) };
        let mut remaining = 0;
        let mut digits = 0;
        loop {
            match rest.get(digits) {
                None if digits < 4 => return Ok(false),
                None => return Err(NotMqtt),
                Some(_) if digits == 4 => return Err(NotMqtt),
                Some(digit) => {
                    remaining |= usize::from(digit & 0x7f) << (7 * digits);
                    digits += 1;
                    if digit & 0x80 == 0 {
                        break;
                    }
                }
            }
        }
        self.pass = 1 + digits + remaining.min(WHOLE_MAX);
        self.skip = remaining.saturating_sub(WHOLE_MAX);
        if self.skip > 0 {
            if *kind >> 4 != PUBLISH {
                return Err(NotMqtt);
            }
            // In as many digits as it had: longer than it need be, which every reader takes.
            for (i, digit) in rest.iter_mut().take(digits).enumerate() {
                let more = if i + 1 < digits { 0x80 } else { 0 };
                *digit = u8::try_from((WHOLE_MAX >> (7 * i)) & 0x7f).unwrap_or(0) | more;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of this kind with a body of this length.
    fn packet(kind: u8, length: usize) -> Vec<u8> {
        let (mut bytes, mut left) = (vec![kind], length);
        loop {
            let digit = (left & 0x7f) as u8;
            left >>= 7;
            bytes.push(if left > 0 { digit | 0x80 } else { digit });
            if left == 0 {
                break;
            }
        }
        bytes.extend((0..length).map(|i| (i % 251) as u8));
        bytes
    }

    /// Sifts a stream that comes in pieces of this size, into room of that size.
    fn sift(stream: &[u8], piece: usize, room: usize) -> Result<Vec<u8>, NotMqtt> {
        let (mut sieve, mut waiting, mut out) = (Sieve::default(), vec![], vec![]);
        for chunk in stream.chunks(piece) {
            waiting.extend_from_slice(chunk);
            loop {
                let mut output = vec![0; room];
                let (taken, given) = sieve.sift(&mut waiting, &mut output)?;
                waiting.drain(..taken);
                out.extend_from_slice(&output[..given]);
                if (taken, given) == (0, 0) {
                    break;
                }
            }
        }
        assert!(waiting.is_empty());
        Ok(out)
    }

    #[test]
    fn packets_of_a_usual_size_pass_unchanged() {
        let stream: Vec<u8> =
            [(0x20, 2), (0x32, 0), (0x32, 127), (0x32, 128), (0x90, 3), (0x30, 20_000), (0xd0, 0), (0x32, WHOLE_MAX)]
                .into_iter()
                .flat_map(|(kind, length)| packet(kind, length))
                .collect();
        for (piece, room) in [(1, 1), (1, 9), (7, 3), (4_096, 8_192), (stream.len(), stream.len())] {
            assert!(sift(&stream, piece, room).unwrap() == stream, "{piece} {room}");
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_shortened_and_the_next_is_whole() {
        for length in [WHOLE_MAX + 1, 3 * WHOLE_MAX] {
            let mut stream = packet(0x32, length);
            stream.extend(packet(0x34, 5));
            for (piece, room) in [(1_000, 8_192), (65_536, 4_096)] {
                let sifted = sift(&stream, piece, room).unwrap();
                let digits = sifted[1..].iter().position(|d| d & 0x80 == 0).unwrap() + 1;
                let said: usize = (0..digits).map(|i| usize::from(sifted[1 + i] & 0x7f) << (7 * i)).sum();
                assert_eq!((sifted[0], said), (0x32, WHOLE_MAX));
                let (first, next) = sifted.split_at(1 + digits + WHOLE_MAX);
                assert!(first[1 + digits..] == stream[1 + digits..1 + digits + WHOLE_MAX]);
                assert_eq!(next, packet(0x34, 5));
            }
        }
    }

    #[test]
    fn what_is_not_mqtt_is_refused() {
        assert_eq!(sift(&[0x32, 0xff, 0xff, 0xff, 0xff, 1], 6, 100), Err(NotMqtt));
        assert_eq!(sift(&packet(0x90, WHOLE_MAX + 1), 4_096, 4_096), Err(NotMqtt));
    }
}
