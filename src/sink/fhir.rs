//! A FHIR R4 server: readings in `batch` Bundles, an alert with its evidence in a `transaction`.
//!
//! Promises: one outcome for each item, in order; what is refused whole is divided until the one that is refused is
//! alone; an alert's Task is never held by a refused part. Must never: answer Delivered without a 2xx for the item itself.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::time::{Instant, sleep};

use super::answer::{self, Misread, Whole, patience, whole};
use super::flight::Flight;
use super::gate::{self, Gate};
pub use super::habits::Habits;
use super::http::{Answer, Ask, Peer, Wire, exchange};
use super::pace::Bucket;
use super::places::{self, Places};
use super::searched::Searches;
use super::smart::{AuthTrouble, Smart};
use super::why::Trouble;
use super::{Destination, SinkError, claims};
use crate::alarm::AlertEvent;
use crate::clock::Clock;
use crate::config::{AuthSettings, BundleKind, FhirSettings, GatewayId, Idempotency, References};
use crate::custody::{Item, ItemId, Outcome, Payload, Receipt};
use crate::fhir::{AlertResources, Bundle, Kind, Scope, Single, Target, Unmappable, Write, single};
use crate::limits;
use crate::reading::Reading;
use crate::secret;

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");

/// Bodies go out as they are.
const PLAIN: u8 = 0;
/// Bodies go out compressed; none was taken yet.
const PACKED_UNPROVEN: u8 = 1;
/// Bodies go out compressed.
const PACKED: u8 = 2;

/// A FHIR R4 server.
pub struct FhirSink {
    pub(super) peer: Peer,
    headers: HeaderMap,
    pub(super) scope: Scope,
    pub(super) write: Write,
    pub(super) places: Mutex<Places>,
    /// What each sensor measures is told as well.
    pub(super) device_metrics: bool,
    /// What may be named by a search for it.
    pub(super) searches: Searches,
    /// What is on its way at this moment.
    flight: Flight,
    /// What may still go at this moment.
    pub(super) gate: Arc<dyn Gate>,
    owner: Option<String>,
    /// The Task of an alert is the centre's as well.
    follows: bool,
    packing: AtomicU8,
    pub(super) habits: Arc<Habits>,
    bucket: Bucket,
    linger: Duration,
    /// In the simulation: instead of the network.
    pub(super) wire: Option<Arc<dyn Wire>>,
    /// At a relay: which gateway an item is from.
    origins: Option<Origins>,
    /// Where the token comes from, if the gateway gets it by itself.
    smart: Option<Arc<Smart>>,
}

/// Tells which gateway an item is from.
pub type Origins = Arc<dyn Fn(ItemId) -> Option<GatewayId> + Send + Sync>;

/// A reading of a batch with its place among the outcomes.
pub(super) type Numbered<'a> = (usize, &'a Item, &'a Reading);

impl FhirSink {
    /// From settings, with the machine's clock; reads the token, or the key.
    pub fn new(settings: &FhirSettings, gateway: &Arc<str>) -> Result<Self, SinkError> {
        Self::timed(settings, gateway, &Clock::system())
    }

    /// The same with this clock: what is signed says the time.
    pub fn timed(settings: &FhirSettings, gateway: &Arc<str>, clock: &Clock) -> Result<Self, SinkError> {
        let timeout = Duration::from_secs(settings.timeout_s.max(1));
        let peer = Peer::new(&settings.url, settings.tls(), timeout)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, FHIR_JSON);
        headers.insert(ACCEPT, FHIR_JSON);
        headers.insert("prefer", HeaderValue::from_static("return=minimal"));
        if let Some(file) = &settings.token_file {
            let token = secret::read(file)?;
            let mut bearer = HeaderValue::from_bytes(&[b"Bearer ", token.line()].concat())
                .map_err(|_| SinkError::Token(file.clone()))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let smart = match &settings.auth {
            Some(AuthSettings::Smart(auth)) => Some(Arc::new(Smart::new(settings, auth, &peer, clock)?)),
            None => None,
        };
        Ok(Self {
            peer,
            headers,
            smart,
            scope: claims::scope(settings, gateway)?,
            places: places::empty(),
            device_metrics: settings.device_metrics,
            searches: Searches::new(settings.references == References::Conditional),
            flight: Flight::default(),
            gate: Arc::new(gate::Open),
            write: match settings.idempotency {
                Idempotency::ConditionalCreate => Write::ConditionalCreate,
                Idempotency::Update => Write::Update,
            },
            owner: settings.alert_owner.clone(),
            follows: settings.follow_tasks.is_some(),
            packing: AtomicU8::new(if settings.gzip { PACKED_UNPROVEN } else { PLAIN }),
            habits: Arc::new(Habits {
                bundle_max: AtomicUsize::new(settings.bundle_max.max(1)),
                transaction: AtomicBool::new(settings.bundle == BundleKind::Transaction),
                configured: settings.bundle,
                configured_max: settings.bundle_max.max(1),
            }),
            bucket: Bucket::new(settings.requests_per_min),
            linger: Duration::from_millis(settings.linger_ms),
            wire: None,
            origins: None,
        })
    }

    /// The same over something else than the network.
    #[doc(hidden)]
    pub fn over(self, wire: Arc<dyn Wire>) -> Self {
        Self { wire: Some(wire), packing: AtomicU8::new(PLAIN), ..self }
    }

    /// The same for items of many gateways.
    pub fn on_behalf_of(self, origins: Origins) -> Self {
        Self { origins: Some(origins), ..self }
    }

    /// Asked before each request for what may still go: until then, everything.
    pub fn gated(&mut self, gate: Arc<dyn Gate>) {
        self.gate = gate;
    }

    /// What the item's resources have in common: its gateway, and the places that are known by now.
    pub(super) fn scope_of(&self, item: &Item) -> Scope {
        let origin = self.origins.as_ref().and_then(|origins| origins(item.id));
        let scope = self.scope();
        Scope { gateway: origin.unwrap_or_else(|| scope.gateway.clone()), ..scope }
    }

    /// Where its token comes from, if it gets one.
    pub fn smart(&self) -> Option<&Arc<Smart>> {
        self.smart.as_ref()
    }

    /// The same with the token of another sink for the same destination.
    pub(super) fn sharing(self, smart: Option<&Arc<Smart>>) -> Self {
        Self { smart: smart.cloned(), ..self }
    }

    /// What may be changed while it runs.
    pub fn habits(&self) -> Arc<Habits> {
        self.habits.clone()
    }

    /// The receiver takes Bundles as they are, and has no resources of its own.
    pub(super) fn sends_documents(&self) -> bool {
        self.habits.kind() == Kind::Collection
    }

    /// A request of an alert is counted, and not waited for.
    pub(super) fn count(&self) {
        self.bucket.take(Instant::now());
    }

    /// Waits until one request more is allowed.
    pub(super) async fn turn(&self) {
        let wait = self.bucket.take(Instant::now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Until there is a token: whatever has to be waited for comes before the last look at what may go.
    pub(super) async fn token(&self) -> Result<(), Unwell> {
        let Some(smart) = &self.smart else { return Ok(()) };
        smart.bearer().await.map(drop).map_err(|e| (Trouble::Auth(e), None))
    }

    /// One reading as this destination takes it: a resource, or a document of one.
    pub(super) fn parcel(&self, item: &Item, reading: &Reading) -> Result<Single, Unmappable> {
        let scope = self.scope_of(item);
        if !self.sends_documents() {
            return single(reading, &scope, self.write);
        }
        let mut bundle = Bundle::new(Kind::Collection, 1);
        bundle.reading(reading, &scope, self.write)?;
        Ok(Single { target: Target::document(), body: bundle.finish() })
    }

    /// Sends one resource. An error: the destination is unwell.
    pub(super) async fn one(&self, resource: Single) -> Result<Outcome, Unwell> {
        let Single { target: Target { method, url, if_none_exist }, body } = resource;
        // `|` stands in a search, where it must be escaped.
        let document = url.is_empty();
        let full = if document { self.peer.url.to_string() } else { self.peer.below(&url.replace('|', "%7C")) };
        let mut answer = self.send(method, &full, if_none_exist.as_deref(), body).await.map_err(|t| (t, None))?;
        // An update need not say where: it was told.
        answer.location = answer.location.or_else(|| (method == "PUT" && !url.contains('?')).then(|| url.clone()));
        match whole(&answer) {
            Whole::Destination(trouble) => Err((trouble, answer.retry_after)),
            Whole::MediaType => Err((Trouble::NotHere(415), None)),
            Whole::TooLarge => Ok(Trouble::TooLarge.reject()),
            Whole::Taken if document => match answer::document(&answer) {
                Ok(receipt) => Ok(Outcome::Delivered(receipt)),
                Err(Misread::Divide) => Ok(Trouble::Unclear("success and error at once").item(limits::ITEM_RETRY.0)),
                Err(Misread::Unclear(trouble)) => Err((trouble, None)),
            },
            Whole::Taken | Whole::Refused => {
                let outcome = answer::single(&answer).map_err(|trouble| (trouble, None))?;
                Ok(answer::shown(answer::ours(outcome, &url), &answer.body, &url))
            }
        }
    }

    async fn alert(&self, item: &Item, event: &AlertEvent, evidence: &[Arc<Reading>]) -> Outcome {
        self.count();
        let (owner, scope) = (self.owner.as_deref(), self.scope_of(item));
        let (_until_answered, elsewhere) = self.flight.evidence(&event.alert.evidence);
        let resources = AlertResources {
            event,
            scope: &scope,
            owner,
            write: self.write,
            readings: evidence,
            elsewhere: &elsewhere,
        };
        if self.follows { self.followed(item, &resources).await } else { self.sent(item, &resources).await }
    }

    /// One request. Until a compressed body was taken once, a refusal may be that of the compression: again without it.
    pub(super) async fn send(
        &self,
        method: &str,
        url: &str,
        condition: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Answer, Trouble> {
        if let Some(wire) = &self.wire {
            let condition = condition.map(str::to_owned);
            return wire.exchange(Ask { method: method.into(), url: url.into(), condition, body }).await;
        }
        let packing = self.packing.load(Ordering::Relaxed);
        let body = Bytes::from(body);
        let plain = || self.request(method, url, condition, body.clone(), false);
        if packing == PLAIN {
            return self.admitted(plain).await;
        }
        let small = Bytes::from(gzip(&body)?);
        let packed = self.admitted(|| self.request(method, url, condition, small.clone(), true)).await?;
        match packed.status {
            200..=299 => self.packing.store(PACKED, Ordering::Relaxed),
            415 => {}
            // Servers that know no compression say so in many ways.
            400 | 422 | 500 | 501 if packing == PACKED_UNPROVEN => {}
            _ => return Ok(packed),
        }
        if packed.status < 300 {
            return Ok(packed);
        }
        let plain = self.admitted(plain).await?;
        if plain.status < 300 {
            tracing::info!("compressed bodies are not understood: sending plain ones from now on");
            self.packing.store(PLAIN, Ordering::Relaxed);
        }
        Ok(plain)
    }

    /// Asks for something below the base.
    pub(super) async fn look(&self, path: &str) -> Result<Answer, Trouble> {
        self.get(&self.peer.below(path)).await
    }

    /// Asks for a URL of the peer's. Must not be called with another's: the credential goes along.
    pub(super) async fn get(&self, url: &str) -> Result<Answer, Trouble> {
        self.admitted(|| self.peer.client.get(url).headers(self.headers.clone())).await
    }

    /// With the token, where the gateway gets one. A token that is refused is renewed once.
    pub(super) async fn admitted(&self, request: impl Fn() -> reqwest::RequestBuilder) -> Result<Answer, Trouble> {
        let Some(smart) = &self.smart else { return exchange(request()).await };
        let bearer = smart.bearer().await.map_err(Trouble::Auth)?;
        let mut answer = exchange(request().header(AUTHORIZATION, bearer.header())).await?;
        if answer.status == 401 {
            let bearer = smart.renewed(&bearer).await.map_err(Trouble::Auth)?;
            answer = exchange(request().header(AUTHORIZATION, bearer.header())).await?;
        }
        match answer.status {
            401 => Err(Trouble::Auth(AuthTrouble::TokenRefused)),
            403 => Err(Trouble::Auth(smart.forbidden().await)),
            _ => Ok(answer),
        }
    }

    /// A token that is not good for one entry of a Bundle is explained as for a whole request.
    async fn explain(&self, outcomes: &mut [Option<Outcome>]) {
        let Some(smart) = &self.smart else { return };
        for outcome in outcomes {
            if let Some(Outcome::Retry { why, .. }) = outcome
                && why.code == "WL-F007"
            {
                *why = Trouble::Auth(smart.forbidden().await).why();
            }
        }
    }

    pub(super) fn request(
        &self,
        method: &str,
        url: &str,
        condition: Option<&str>,
        body: Bytes,
        packed: bool,
    ) -> reqwest::RequestBuilder {
        let client = &self.peer.client;
        let mut request = if method == "PUT" { client.put(url) } else { client.post(url) };
        request = request.headers(self.headers.clone());
        if packed {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        if let Some(condition) = condition {
            request = request.header("if-none-exist", condition);
        }
        request.body(body)
    }
}

impl Destination for FhirSink {
    async fn deliver(&self, items: &[Item], evidence: &[Arc<Reading>]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; items.len()];
        let mut readings = Vec::with_capacity(items.len());
        for (n, (item, outcome)) in items.iter().zip(&mut outcomes).enumerate() {
            match &item.what {
                Payload::Alert(event) => *outcome = Some(self.alert(item, event, evidence).await),
                Payload::Reading(reading) => readings.push((n, item, &**reading)),
            }
        }
        let withdrawn: Vec<_> = readings.iter().filter(|(.., r)| r.is_withdrawal()).copied().collect();
        let _until_answered = self.flight.readings(readings.iter().map(|(.., r)| *r)).await;
        self.readings(readings, &mut outcomes).await;
        let passed = outcomes.iter().flatten().any(is_delivered);
        self.places().clocks.judge(passed);
        self.places().metrics.judge(passed);
        for (n, item, _) in withdrawn {
            if let Some(Some(refused @ Outcome::Reject(_))) = outcomes.get(n) {
                let outcome = self.take_back(item, refused.clone()).await;
                set(&mut outcomes, n, outcome);
            }
        }
        judge(items, &mut outcomes);
        self.explain(&mut outcomes).await;
        // Nothing is left without an outcome; if it were, sending again is safe.
        let missing = || Trouble::Unclear("nothing is known of this item").item(limits::ITEM_RETRY.0);
        outcomes.into_iter().map(|o| o.unwrap_or_else(missing)).collect()
    }

    fn batch_max(&self) -> usize {
        self.habits.bundle_max.load(Ordering::Relaxed)
    }

    fn linger(&self) -> Duration {
        self.linger
    }

    fn takes_readings(&self) -> bool {
        true
    }

    fn takes_alerts(&self) -> bool {
        // A receiver of documents acts on no Task.
        !self.sends_documents()
    }
}

/// The destination's trouble, and when it wants to be asked again.
pub(super) type Unwell = (Trouble, Option<Duration>);

pub(super) fn set(outcomes: &mut [Option<Outcome>], n: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(n) {
        *slot = Some(outcome);
    }
}

pub(super) fn is_delivered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Delivered(_))
}

/// Judges the entries that failed by the others. If one passed, each failure is its item's own: it waits longer each time,
/// and ends with a person. If none did, it is the destination that fails, however often.
fn judge(items: &[Item], outcomes: &mut [Option<Outcome>]) {
    let passed = outcomes.iter().flatten().any(is_delivered);
    for (item, outcome) in items.iter().zip(outcomes) {
        let Some(Outcome::Retry { after, why, destination: destination @ false }) = outcome else { continue };
        let ours = why.code == "WL-F014";
        // What the destination's owner has to change is not the item's fault.
        let theirs = matches!(&*why.code, "WL-F004" | "WL-F006" | "WL-F007" | "WL-F008");
        if !passed && !ours {
            (*after, *destination) = (None, true);
        } else if !ours && !theirs && item.attempts >= limits::ITEM_ATTEMPTS_MAX {
            *outcome = Some(Outcome::Reject(why.clone()));
        } else {
            *after = (*after).max(Some(patience(item.attempts)));
        }
    }
}

/// `Observation/1` of `Observation/1/_history/2`.
pub(super) fn versionless(receipt: &Receipt) -> Option<String> {
    let location = receipt.location.split("/_history/").next()?;
    (!location.is_empty()).then(|| location.to_owned())
}

fn gzip(body: &[u8]) -> Result<Vec<u8>, Trouble> {
    let out = Vec::with_capacity(body.len() / 8 + 128);
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).map_err(|_| Trouble::Unreachable("no memory"))
}
