//! Technicians at the local page. Who administers asks for a link; opened in a browser, it may serve Bluetooth devices for an hour.
//!
//! The page listens on loopback, where the kernel does not say who asks: a key stands in for its word. Promises: keys are random,
//! work once and soon end; only their hashes are kept, in memory. Must never: log a key, or let one do more than serve devices.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::routing::post;
use axum::{Extension, Json, Router};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::{Desk, Fault, Role};
use crate::clock::Stamp;
use crate::limits::{PAGE_KEY_VALID, PAGE_TECHNICIAN_MAX, PAGE_TECHNICIANS_MAX};

type Hash = [u8; 32];

/// Keys that wait to be used, and those whose time runs.
#[derive(Default)]
pub struct Technicians {
    /// Where the page is; `None`: there is none.
    page: Option<String>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    keys: Vec<(Hash, Stamp)>,
    open: Vec<(Hash, Stamp)>,
}

impl Technicians {
    /// For the page at this address.
    pub fn new(page: Option<String>) -> Self {
        Self { page, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link that opens the page's devices once, within ten minutes.
    pub(crate) fn invite(&self, now: Stamp) -> Result<String, Fault> {
        let page = self.page.as_ref().ok_or(Fault::Missing("local page: add [page] to the configuration"))?;
        let key = secret()?;
        keep(&mut self.held().keys, hash(&key), now);
        // After the mark a browser tells it to nobody, and it stands in no log.
        Ok(format!("{page}devices#key={key}"))
    }

    /// What the browser says from now on; `None`: this key is not, or not any more.
    fn open(&self, key: &str, now: Stamp) -> Result<Option<String>, Fault> {
        let (hash_of_key, word) = (hash(key), secret()?);
        let mut held = self.held();
        held.keys.retain(|(_, since)| now.since(*since) < PAGE_KEY_VALID);
        let Some(found) = held.keys.iter().position(|(known, _)| *known == hash_of_key) else { return Ok(None) };
        held.keys.remove(found);
        keep(&mut held.open, hash(&word), now);
        Ok(Some(word))
    }

    /// What who says this word may do at the page.
    pub fn role(&self, word: Option<&str>, now: Stamp) -> Role {
        let Some(said) = word.map(hash) else { return Role::Operator };
        let mut held = self.held();
        held.open.retain(|(_, since)| now.since(*since) < PAGE_TECHNICIAN_MAX);
        if held.open.iter().any(|(known, _)| *known == said) { Role::Technician } else { Role::Operator }
    }
}

/// The oldest gives way.
fn keep(list: &mut Vec<(Hash, Stamp)>, hash: Hash, now: Stamp) {
    if list.len() >= PAGE_TECHNICIANS_MAX {
        list.remove(0);
    }
    list.push((hash, now));
}

fn secret() -> Result<String, Fault> {
    let mut octets = [0; 16];
    SystemRandom::new().fill(&mut octets).map_err(|_| Fault::Busy)?;
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

fn hash(text: &str) -> Hash {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap_or_default()
}

/// `POST /v1/page/link`, answered.
#[derive(Serialize, Deserialize)]
pub struct Link {
    /// To be opened on this box, or through a tunnel to it.
    pub link: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    key: String,
}

#[derive(Serialize)]
struct Opened {
    word: String,
}

type Shared = State<Arc<Desk>>;

/// The routes.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/v1/page/link", post(link)).route("/v1/page/open", post(open))
}

async fn link(State(desk): Shared, Extension(role): Extension<Role>) -> Result<Json<Link>, Fault> {
    if !role.administers() {
        return Err(Fault::Forbidden);
    }
    desk.technicians.invite(desk.clock.now()).map(|link| Json(Link { link }))
}

async fn open(
    State(desk): Shared,
    _role: Extension<Role>,
    key: Result<Json<Key>, JsonRejection>,
) -> Result<Json<Opened>, Fault> {
    let Json(Key { key }) = key.map_err(|e| Fault::Malformed(e.body_text()))?;
    let word = desk.technicians.open(&key, desk.clock.now())?;
    word.map(|word| Json(Opened { word })).ok_or(Fault::Forbidden)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(technicians: &Technicians, now: Stamp) -> String {
        technicians.invite(now).unwrap().split_once("devices#key=").unwrap().1.to_owned()
    }

    #[test]
    fn a_key_works_once_and_its_time_ends() {
        let (t, now) = (Technicians::new(Some("http://127.0.0.1:1/".into())), Stamp::at_ms(0));
        let later = |time: Duration| now.plus(time);
        let first = key(&t, now);
        assert!(first.len() == 32 && first != key(&t, now));
        let word = t.open(&first, later(Duration::from_secs(599))).unwrap().unwrap();
        assert_eq!(t.open(&first, now).unwrap(), None, "a second time");
        assert_eq!(t.role(Some(&word), now), Role::Technician);
        for nothing in [None, Some(""), Some("0"), Some(&*first)] {
            assert_eq!(t.role(nothing, now), Role::Operator);
        }
        let late = key(&t, now);
        assert_eq!(t.open(&late, later(PAGE_KEY_VALID)).unwrap(), None, "too late");
        assert_eq!(t.role(Some(&word), later(Duration::from_secs(599) + PAGE_TECHNICIAN_MAX)), Role::Operator);
    }

    #[test]
    fn of_many_keys_the_oldest_give_way_and_without_a_page_there_are_none() {
        let (t, now) = (Technicians::new(Some("http://127.0.0.1:1/".into())), Stamp::at_ms(0));
        let keys: Vec<String> = (0..=PAGE_TECHNICIANS_MAX).map(|_| key(&t, now)).collect();
        assert_eq!(t.open(&keys[0], now).unwrap(), None);
        assert!(t.open(&keys[1], now).unwrap().is_some());
        assert!(Technicians::default().invite(now).is_err());
    }
}
