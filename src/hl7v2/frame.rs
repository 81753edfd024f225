//! The minimal lower layer protocol's frame: 0x0B, the message, 0x1C 0x0D. Pure: octets in, messages out.
//!
//! Lenient in reading: what stands between frames is skipped. Must never: hold more than its bound, or give half a message.

const BEGIN: u8 = 0x0B;
const END: [u8; 2] = [0x1C, 0x0D];

/// A message in its frame.
pub fn wrap(message: impl AsRef<[u8]>) -> Vec<u8> {
    let message = message.as_ref();
    let mut out = Vec::with_capacity(message.len() + 3);
    out.push(BEGIN);
    out.extend_from_slice(message);
    out.extend_from_slice(&END);
    out
}

/// More came than a frame may hold, or than may stand between two: the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlong;

/// Takes octets as they come and gives whole messages.
#[derive(Debug)]
pub struct Deframer {
    buffer: Vec<u8>,
    max: usize,
    skipped: usize,
    looked: usize,
}

impl Deframer {
    /// For messages of at most `max` octets.
    pub fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), max, skipped: 0, looked: 0 }
    }

    /// Takes octets.
    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole message. `Ok(None)`: more octets are needed.
    pub fn message(&mut self) -> Result<Option<Vec<u8>>, Overlong> {
        let begin = self.buffer.iter().position(|b| *b == BEGIN).unwrap_or(self.buffer.len());
        if begin > 0 {
            self.skipped = self.skipped.saturating_add(begin);
            self.buffer.drain(..begin);
            self.looked = 0;
        }
        if self.skipped > self.max {
            return Err(Overlong);
        }
        // What was looked through before is not looked through again; the end may have come in two parts.
        let from = self.looked.saturating_sub(1);
        let unseen = self.buffer.get(from..).unwrap_or_default();
        match unseen.windows(END.len()).position(|w| w == END) {
            Some(end) => {
                let message: Vec<u8> = self.buffer.drain(..from + end + END.len()).collect();
                (self.looked, self.skipped) = (0, 0);
                let body = message.len().saturating_sub(END.len());
                match message.get(1..body).filter(|m| m.len() <= self.max) {
                    Some(message) => Ok(Some(message.to_vec())),
                    None => Err(Overlong),
                }
            }
            None if self.buffer.len() > self.max.saturating_add(3) => Err(Overlong),
            None => {
                self.looked = self.buffer.len();
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(octets: &[u8], piece: usize, max: usize) -> Result<Vec<Vec<u8>>, Overlong> {
        let mut deframer = Deframer::new(max);
        let mut found = Vec::new();
        for piece in octets.chunks(piece.max(1)) {
            deframer.feed(piece);
            while let Some(message) = deframer.message()? {
                found.push(message);
            }
        }
        Ok(found)
    }

    #[test]
    fn what_stands_between_frames_is_skipped_and_half_a_frame_is_none() {
        let octets = b"noise\x0bMSH|a\x1c\x0d\r\n\x0bMSH|b\x1cc\x1c\x0d\x0bMSH|half\x1c";
        for piece in 1..octets.len() {
            assert_eq!(all(octets, piece, 100).unwrap(), [b"MSH|a".to_vec(), b"MSH|b\x1cc".to_vec()], "{piece}");
        }
    }

    #[test]
    fn what_has_no_end_or_no_beginning_is_given_up() {
        assert_eq!(all(&[&b"\x0b"[..], &[b'x'; 200]].concat(), 7, 100), Err(Overlong));
        assert_eq!(all(&[b'x'; 200], 7, 100), Err(Overlong));
        assert_eq!(all(&wrap("x".repeat(101)), 500, 100), Err(Overlong));
        assert_eq!(all(&wrap("x".repeat(100)), 500, 100).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn what_is_wrapped_comes_out_however_it_is_cut(texts in proptest::collection::vec("[ -~\r]{0,40}", 0..5), piece in 1usize..50) {
            let octets: Vec<u8> = texts.iter().flat_map(wrap).collect();
            let expected: Vec<Vec<u8>> = texts.iter().map(|t| t.clone().into_bytes()).collect();
            prop_assert_eq!(all(&octets, piece, 100), Ok(expected));
        }
    }
}
