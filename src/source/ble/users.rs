//! Users of a shared scale and their codes: which are tried in the next connection, and what the scale said of them.
//!
//! Promises: a code that its scale refused is not tried again until a person gives one anew, whatever the journal knows by
//! then; a user who was asked for longest ago comes first. Must never: show a code.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keeper::Keeper;
use crate::clock::Stamp;
use crate::fault::Explain;
use crate::reading::DeviceId;
use crate::user_code::{Codes, Given, UserCode};

/// A code of which a scale says nothing clear, this often in a row, is tried once in so long: nobody knows what it counts.
const UNCLEAR: (u32, Duration) = (5, Duration::from_secs(3_600));

/// A user to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Number on the scale.
    pub slot: u8,
    /// When the code was given.
    pub given_ms: i64,
    /// The code.
    pub code: UserCode,
}

/// What a scale said of a user's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing, or nothing clear.
    Nothing,
    /// It is right.
    Accepted,
    /// It is not.
    Refused,
}

/// The last time that it was asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    /// With the code that was given then.
    pub given_ms: i64,
    /// What it said.
    pub said: Said,
    /// When.
    pub at: Stamp,
    /// So often in a row nothing clear was said.
    pub unclear: u32,
}

/// What a person must see to. It stands beside whatever else is wrong with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserFault {
    /// There is no code at all, and nothing has come.
    #[error("it asks for its users' codes and none is kept here: it may keep what they measured to itself")]
    NoCode,
    /// The code of this user is wrong.
    #[error("it refuses the code of its user {0}, which is not tried again until it is given anew")]
    Refused(u8),
}

impl Explain for UserFault {
    fn code(&self) -> &'static str {
        match self {
            Self::NoCode => "WL-S074",
            Self::Refused(_) => "WL-S075",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::NoCode => "Give each user's code: `wardline devices user ID --slot N --by NAME`.",
            Self::Refused(_) => {
                "Read the code off the scale and give it: `wardline devices user ID --slot N --by NAME`."
            }
        }
    }
}

/// How it stands with the users of one device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Users {
    /// Its plan asks for the consent of its users, and it has their control point.
    pub asks: bool,
    /// By their numbers, since the start.
    pub asked: BTreeMap<u8, Asked>,
    /// What a person must see to.
    pub faults: Vec<UserFault>,
    /// When each code that is kept was given.
    known: BTreeMap<u8, i64>,
}

impl Users {
    /// What was asked of the scale, or what it said.
    pub(super) fn learn(&mut self, device: &DeviceId, (slot, given_ms): (u8, i64), said: Said, at: Stamp) {
        let before = self.asked.get(&slot).filter(|asked| asked.given_ms == given_ms).copied();
        let unclear = if said == Said::Nothing { before.map_or(0, |asked| asked.unclear) + 1 } else { 0 };
        // That it is asked again takes nothing back of what it said last.
        let kept = if said == Said::Nothing { before.map_or(said, |asked| asked.said) } else { said };
        self.asked.insert(slot, Asked { given_ms, said: kept, at, unclear });
        if said == Said::Refused {
            let fault = UserFault::Refused(slot);
            tracing::warn!(%device, slot, code = fault.code(), "{fault}.");
        }
    }

    fn is_refused(&self, slot: u8, given: &Given) -> bool {
        let here = self.asked.get(&slot).filter(|asked| asked.given_ms == given.at_ms);
        given.is_refused() || here.is_some_and(|asked| asked.said == Said::Refused)
    }

    /// Whose codes may be tried now.
    fn to_ask(&self, codes: &BTreeMap<u8, Given>, now: Stamp) -> Vec<User> {
        let rests = |slot: u8, given: &Given| {
            let asked = self.asked.get(&slot).filter(|asked| asked.given_ms == given.at_ms);
            asked.is_some_and(|asked| asked.unclear >= UNCLEAR.0 && now.since(asked.at) < UNCLEAR.1)
        };
        let mine = codes.iter().filter(|(slot, given)| !self.is_refused(**slot, given) && !rests(**slot, given));
        let mut users: Vec<User> =
            mine.map(|(slot, given)| User { slot: *slot, given_ms: given.at_ms, code: given.code }).collect();
        users.sort_by_key(|user| (self.asked.get(&user.slot).map(|asked| asked.at.mono_us), user.slot));
        users
    }

    /// What a person must see to, `came`: it gave values.
    fn judge(&mut self, codes: Option<&BTreeMap<u8, Given>>, came: bool) {
        let refused = codes.into_iter().flatten().filter(|(slot, given)| self.is_refused(**slot, given));
        self.faults = refused.map(|(slot, _)| UserFault::Refused(*slot)).collect();
        if self.asks && !came && codes.is_none_or(BTreeMap::is_empty) {
            self.faults.push(UserFault::NoCode);
        }
    }
}

/// When each code of a device was given.
pub(super) fn given(device: &DeviceId, codes: &Codes) -> BTreeMap<u8, i64> {
    codes.get(device).into_iter().flatten().map(|(slot, given)| (*slot, given.at_ms)).collect()
}

/// Users whose codes were given since they were seen, and what is seen now. None of these was ever tried.
pub(super) fn changed(device: &DeviceId, codes: &Codes, seen: &mut BTreeMap<u8, i64>) -> Vec<User> {
    let all = codes.get(device).into_iter().flatten();
    let new = all.filter(|(slot, given)| seen.get(slot) != Some(&given.at_ms));
    let new = new.map(|(slot, given)| User { slot: *slot, given_ms: given.at_ms, code: given.code }).collect();
    *seen = given(device, codes);
    new
}

impl Keeper {
    /// Users of the device with this address whose codes may be tried.
    pub(super) fn users_of(&self, address: &str, codes: &Codes, now: Stamp) -> Vec<User> {
        let Some(peer) = self.peers.all.get(address) else { return Vec::new() };
        codes.get(&peer.health.id).map(|codes| peer.health.users.to_ask(codes, now)).unwrap_or_default()
    }

    /// A code was given, taken away or judged. Where one was given, the scale is asked as soon as it can be.
    pub(super) fn learn_codes(&mut self) {
        let codes = self.setup.codes.borrow_and_update().clone();
        for peer in self.peers.all.values_mut() {
            let given = given(&peer.health.id, &codes);
            if given.iter().any(|(slot, at_ms)| peer.health.users.known.get(slot) != Some(at_ms)) {
                peer.relieved();
            }
            peer.health.users.known = given;
        }
        self.publish();
    }

    /// What is to be said of the users, before it is said.
    pub(super) fn judge_users(&mut self) {
        let codes = self.setup.codes.borrow();
        for peer in self.peers.all.values_mut() {
            let came = peer.health.values > 0;
            peer.health.users.judge(codes.get(&peer.health.id), came);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user_code::Verdict;

    fn given(at_ms: i64) -> Given {
        Given { code: UserCode::parse("1234").unwrap(), by: "Ada".into(), at_ms, said: None }
    }

    fn device() -> DeviceId {
        DeviceId("ble:C0:26:DF:00:11:22".into())
    }

    fn slots(users: &[User]) -> Vec<u8> {
        users.iter().map(|user| user.slot).collect()
    }

    #[test]
    fn a_refused_code_is_not_tried_again_until_a_new_one_is_given() {
        let (mut users, now) = (Users::default(), Stamp::at_ms(1_000));
        let mut codes = BTreeMap::from([(1, given(100)), (2, given(100))]);
        users.learn(&device(), (2, 100), Said::Nothing, now);
        users.learn(&device(), (2, 100), Said::Refused, now);
        users.judge(Some(&codes), false);
        assert_eq!((slots(&users.to_ask(&codes, now)), &*users.faults), (vec![1], &[UserFault::Refused(2)][..]));
        codes.insert(2, given(200));
        users.judge(Some(&codes), false);
        assert_eq!((slots(&users.to_ask(&codes, now)), &*users.faults), (vec![1, 2], &[][..]));
        // What the journal knows, after a restart.
        codes.insert(1, Given { said: Some((Verdict::Refused, 300)), ..given(100) });
        let mut users = Users::default();
        users.judge(Some(&codes), false);
        assert_eq!((slots(&users.to_ask(&codes, now)), &*users.faults), (vec![2], &[UserFault::Refused(1)][..]));
    }

    #[test]
    fn who_was_asked_for_longest_ago_comes_first() {
        let (mut users, codes) = (Users::default(), BTreeMap::from([(1, given(1)), (2, given(1)), (3, given(1))]));
        let at = |s: u64| Stamp::at_ms(1_000).plus(Duration::from_secs(s));
        users.learn(&device(), (1, 1), Said::Nothing, at(1));
        assert_eq!(slots(&users.to_ask(&codes, at(2))), [2, 3, 1]);
        users.learn(&device(), (2, 1), Said::Accepted, at(2));
        users.learn(&device(), (3, 1), Said::Accepted, at(3));
        assert_eq!(slots(&users.to_ask(&codes, at(4))), [1, 2, 3]);
    }

    #[test]
    fn a_code_of_which_nothing_clear_is_said_is_not_tried_without_end() {
        let (mut users, codes, now) = (Users::default(), BTreeMap::from([(1, given(1))]), Stamp::at_ms(1_000));
        users.learn(&device(), (1, 1), Said::Accepted, now);
        for _ in 0..UNCLEAR.0 {
            assert_eq!(slots(&users.to_ask(&codes, now)), [1]);
            users.learn(&device(), (1, 1), Said::Nothing, now);
        }
        assert_eq!(slots(&users.to_ask(&codes, now)), [0; 0]);
        assert_eq!(users.asked[&1].said, Said::Accepted);
        let later = now.plus(UNCLEAR.1);
        assert_eq!(slots(&users.to_ask(&codes, later)), [1]);
        users.learn(&device(), (1, 1), Said::Nothing, later);
        assert_eq!(slots(&users.to_ask(&codes, later)), [0; 0]);
        assert_eq!(slots(&users.to_ask(&BTreeMap::from([(1, given(2))]), later)), [1], "a new one has new tries");
    }

    #[test]
    fn that_codes_are_lacking_is_said_only_where_nothing_comes_without_them() {
        let mut users = Users::default();
        users.judge(None, false);
        assert_eq!(users.faults, []);
        users.asks = true;
        users.judge(None, true);
        assert_eq!(users.faults, []);
        users.judge(Some(&BTreeMap::new()), false);
        assert_eq!(users.faults, [UserFault::NoCode]);
        users.judge(Some(&BTreeMap::from([(1, given(1))])), false);
        assert_eq!(users.faults, []);
    }
}
