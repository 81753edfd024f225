//! Vendors' frames in notifications: one in several, or several in one.
//!
//! Must never: hold more than one frame's beginning, or skip octets in search of the next one.

use bytes::Bytes;

use super::reject;
use crate::limits::FRAMES_JOINED_MAX;
use crate::reading::Reject;

/// What the first octets say about the frame that begins with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// No frame begins so.
    Foreign,
    /// Too few to tell its length.
    Short,
    /// So many octets in all.
    Frame(usize),
}

/// Cuts octets into whole frames; what is left is the beginning of the next one.
pub fn frames(octets: &[u8], head: fn(&[u8]) -> Head) -> Result<(Vec<Bytes>, &[u8]), Reject> {
    let (mut whole, mut rest) = (Vec::new(), octets);
    while !rest.is_empty() && whole.len() < FRAMES_JOINED_MAX {
        match head(rest) {
            Head::Foreign | Head::Frame(0) => return Err(reject::illegal("start of a frame")),
            Head::Short => break,
            Head::Frame(length) => match rest.split_at_checked(length) {
                Some((frame, after)) => {
                    whole.push(Bytes::copy_from_slice(frame));
                    rest = after;
                }
                None => break,
            },
        }
    }
    Ok((whole, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first octet is the length of a frame; 9 begins none.
    fn head(octets: &[u8]) -> Head {
        match octets[0] {
            9 => Head::Foreign,
            8 if octets.len() == 1 => Head::Short,
            n => Head::Frame(n.into()),
        }
    }

    #[test]
    fn whole_frames_are_cut_off_and_the_beginning_of_one_is_left() {
        let cut = |octets: &[u8]| frames(octets, head).map(|(w, rest)| (w.len(), rest.to_vec())).map_err(|r| r.code);
        assert_eq!(cut(&[]), Ok((0, vec![])));
        assert_eq!(cut(&[2, 0, 1, 3, 0, 0]), Ok((3, vec![])));
        assert_eq!(cut(&[2, 0, 3, 0]), Ok((1, vec![3, 0])));
        assert_eq!(cut(&[1, 8]), Ok((1, vec![8])));
        assert_eq!(cut(&[2, 0, 9, 0]), Err("WL-D003"));
        assert_eq!(cut(&[0]), Err("WL-D003"));
        assert_eq!(cut(&[1; 100]).unwrap().0, FRAMES_JOINED_MAX);
    }
}
