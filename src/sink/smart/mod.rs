//! SMART Backend Services: the credential of a FHIR destination, got by a signed assertion.
//!
//! Promises: one question to the token server at a time; a token is used until shortly before its end, and a refused one is
//! renewed once; readings wait for as long as there is none. Must never: ask while the clock is not set, show a token, or
//! let a narrowed scope pass without a word.

pub mod file;
mod grant;
pub mod key;
mod token;
mod trouble;

use std::sync::{Mutex as Plain, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::sync::Mutex;

pub use grant::Granted;
pub use trouble::AuthTrouble;

use self::file::Keys;
use self::key::Key;
use self::token::Given;
use super::http::{HttpError, Peer};
use crate::clock::{Clock, Stamp, WALL_FLOOR_MS};
use crate::config::{FhirSettings, SmartSettings};
use crate::fault::Explain;
use crate::limits;
use crate::probed::Credential;
use crate::tls::Files;

/// The credential of one destination.
pub struct Smart {
    settings: SmartSettings,
    name: String,
    fhir: Peer,
    files: Files,
    timeout: Duration,
    clock: Clock,
    state: Mutex<State>,
    shown: Plain<Credential>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    number: u64,
    server: Option<(String, Peer)>,
    /// The last question failed.
    held: Option<(AuthTrouble, Stamp)>,
    /// A new key that was not accepted: not again before.
    new_key_tried: Option<(String, Stamp)>,
    granted: Option<Granted>,
}

struct Token {
    bearer: Bearer,
    since: Stamp,
    life: Duration,
}

/// What a request carries.
#[derive(Clone)]
pub struct Bearer {
    number: u64,
    header: HeaderValue,
}

impl Bearer {
    /// For `Authorization`; marked as sensitive.
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

impl Smart {
    /// From settings; reads the keys and publishes their public halves, asks nobody.
    pub fn new(fhir: &FhirSettings, settings: &SmartSettings, peer: &Peer, clock: &Clock) -> Result<Self, AuthTrouble> {
        let smart = Self {
            settings: settings.clone(),
            name: fhir.name.clone(),
            fhir: peer.clone(),
            files: fhir.tls(),
            timeout: Duration::from_secs(fhir.timeout_s.max(1)).min(limits::TOKEN_ANSWER_MAX),
            clock: clock.clone(),
            state: Mutex::default(),
            shown: Plain::default(),
        };
        let keys = Keys::read(&settings.key_file)?;
        smart.publish(&keys);
        Ok(smart)
    }

    /// A token that is good now. An error: there is none now; it is asked for again by itself.
    pub async fn bearer(&self) -> Result<Bearer, AuthTrouble> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        if let Some(token) = state.token.as_ref().filter(|t| now.since(t.since) < t.life) {
            return Ok(token.bearer.clone());
        }
        if let Some((trouble, _)) = state.held.as_ref().filter(|(_, at)| now.since(*at) < limits::TOKEN_ASK_AGAIN) {
            return Err(trouble.clone());
        }
        state.token = None;
        match self.fetch(&mut state, now).await {
            Ok(given) => {
                state.number += 1;
                let bearer = Bearer { number: state.number, header: given.bearer };
                // The last quarter of a short life, half a minute of a long one: a request takes a while.
                let life = Duration::from_secs(given.seconds);
                let life = life.saturating_sub((life / 4).min(limits::TOKEN_SKEW));
                state.token = Some(Token { bearer: bearer.clone(), since: now, life });
                state.held = None;
                self.note(|shown| {
                    shown.until_ms = Some(now.plus(Duration::from_secs(given.seconds)).wall_ms);
                    shown.trouble = None;
                });
                Ok(bearer)
            }
            Err(trouble) => {
                if matches!(trouble, AuthTrouble::Away(_) | AuthTrouble::Discovery(_) | AuthTrouble::Unclear(_)) {
                    state.server = None;
                }
                self.note(|shown| {
                    shown.until_ms = None;
                    shown.trouble = Some((trouble.code().into(), trouble.to_string(), trouble.remedy().into()));
                });
                state.held = Some((trouble.clone(), self.clock.now()));
                Err(trouble)
            }
        }
    }

    /// Another token than this one, which was refused.
    pub async fn renewed(&self, refused: &Bearer) -> Result<Bearer, AuthTrouble> {
        {
            let mut state = self.state.lock().await;
            if state.token.as_ref().is_some_and(|t| t.bearer.number == refused.number) {
                state.token = None;
            }
        }
        self.bearer().await
    }

    /// Why a request with a good token is not allowed, as far as we know.
    pub async fn forbidden(&self) -> AuthTrouble {
        let state = self.state.lock().await;
        let asked = Granted::words(&self.settings.scopes);
        AuthTrouble::Forbidden(match &state.granted {
            Some(g) if g.unsaid => format!("asked for {asked}; the token server did not say what of it is granted"),
            Some(g) if !g.missing.is_empty() => format!("not granted: {}", Granted::words(&g.missing)),
            _ => format!("granted: {asked}; the FHIR server wants more"),
        })
    }

    /// What a technician may know of it.
    pub fn shown(&self) -> Credential {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Credential)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn fetch(&self, state: &mut State, now: Stamp) -> Result<Given, AuthTrouble> {
        // A clock that is doubted and may be right is tried: the server says if it is not.
        if now.wall_ms < WALL_FLOOR_MS {
            return Err(AuthTrouble::ClockUnset);
        }
        let keys = Keys::read(&self.settings.key_file)?;
        self.publish(&keys);
        let (url, peer) = self.server(state, &keys.current).await?;
        let given = match self.with_new(state, &keys, &url, &peer, now).await? {
            Some(given) => given,
            None => token::ask(&self.settings, &peer, &url, &keys.current, now).await?,
        };
        self.compare(state, &given.granted)?;
        Ok(given)
    }

    /// Where tokens are given.
    async fn server(&self, state: &mut State, key: &Key) -> Result<(String, Peer), AuthTrouble> {
        if let Some(known) = &state.server {
            return Ok(known.clone());
        }
        let url = match &self.settings.token_url {
            Some(url) => url.clone(),
            None => token::discover(&self.fhir, key).await?,
        };
        let peer = Peer::new(&url, self.files.clone(), self.timeout).map_err(|e| match e {
            HttpError::Url(_) => AuthTrouble::Discovery("the token server's address is not one".into()),
            other => AuthTrouble::Away(other.to_string()),
        })?;
        self.note(|shown| shown.token_url = Some(url.clone()));
        state.server = Some((url.clone(), peer.clone()));
        Ok((url, peer))
    }

    /// With the new key, if there is one and the centre has had time to fetch it. It takes the old one's place only when a
    /// token was given for it. `None`: the old one, then.
    async fn with_new(
        &self,
        state: &mut State,
        keys: &Keys,
        url: &str,
        peer: &Peer,
        now: Stamp,
    ) -> Result<Option<Given>, AuthTrouble> {
        let Some(new) = &keys.new else { return Ok(None) };
        let lately = state
            .new_key_tried
            .as_ref()
            .is_some_and(|(kid, at)| kid == new.key.kid() && now.since(*at) < limits::NEW_KEY_AGAIN);
        if lately || new.age(now) < Duration::from_secs(self.settings.new_key_after_min * 60) {
            return Ok(None);
        }
        match token::ask(&self.settings, peer, url, &new.key, now).await {
            Ok(given) => {
                match keys.promote() {
                    Ok(()) => tracing::info!(destination = %self.name, kid = new.key.kid(), "the new key is in use"),
                    Err(e) => {
                        tracing::warn!(destination = %self.name, "the new key is accepted and cannot take the old one's place: {e}");
                    }
                }
                if let Ok(keys) = Keys::read(&self.settings.key_file) {
                    self.publish(&keys);
                }
                Ok(Some(given))
            }
            // Not registered yet: the old one works on.
            Err(e @ (AuthTrouble::Client(_) | AuthTrouble::ClockOff { .. })) => {
                if state.new_key_tried.as_ref().is_none_or(|(kid, _)| kid != new.key.kid()) {
                    tracing::warn!(destination = %self.name, code = e.code(), why = %e, "the new key is not accepted yet");
                }
                state.new_key_tried = Some((new.key.kid().into(), now));
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Says what is missing of the scopes, before anything is sent. An error: nothing could be stored with it.
    fn compare(&self, state: &mut State, granted: &Granted) -> Result<(), AuthTrouble> {
        let (there, missing) = (Granted::words(&granted.there), Granted::words(&granted.missing));
        self.note(|shown| {
            shown.granted.clone_from(&granted.there);
            shown.missing.clone_from(&granted.missing);
            shown.unsaid = granted.unsaid;
        });
        let changed = state.granted.replace(granted.clone()).is_none_or(|before| before != *granted);
        if !granted.stores {
            return Err(AuthTrouble::Narrow { granted: there, missing });
        }
        if !granted.missing.is_empty() && changed {
            let less = AuthTrouble::Less { granted: there, missing };
            tracing::warn!(destination = %self.name, code = less.code(), why = %less, remedy = less.remedy(), "fewer scopes than asked for");
        }
        Ok(())
    }

    /// The public halves, where the settings want them.
    fn publish(&self, keys: &Keys) {
        self.note(|shown| {
            shown.kid = keys.current.kid().into();
            shown.alg = keys.current.alg().name().into();
            shown.new_kid = keys.new.as_ref().map(|n| n.key.kid().into());
        });
        let Some(to) = &self.settings.jwks_file else { return };
        if let Err(e) = keys.publish(to) {
            tracing::warn!(destination = %self.name, file = %to.display(), "the public keys cannot be written: {e}");
        }
    }
}
