//! The endpoint's HTTP: a Bundle, a create, an update, a search, and the CapabilityStatement.
//!
//! Each request first meets its fate, then the store; the answer may be lost on its way back.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;
use serde_json::value::RawValue;

use super::manners::{Fate, Manners};
use super::resource::{Bundle, Entry, Refusal};
use super::search;
use super::store::{Done, Plan, Store, parameter, plan};
use super::wire::Scissors;
use crate::clock::Clock;
use crate::lab::rng::Rng;
use crate::limits::LAB_BODY_BYTES_MAX;

/// What all requests share.
pub(super) struct Shared {
    pub store: Mutex<Store>,
    pub manners: Mutex<Manners>,
    pub dice: Mutex<Rng>,
    pub token: Option<String>,
    pub scheme: &'static str,
    pub clock: Clock,
}

/// A poisoned lock holds counts that are still counts.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    // One handler: a base path, `/fhir` or none, is whatever stands before the resource type.
    Router::new().fallback(serve).layer(DefaultBodyLimit::max(LAB_BODY_BYTES_MAX)).with_state(shared)
}

/// An answer before it meets its fate.
struct Answer {
    status: u16,
    body: String,
    retry_after: Option<u64>,
}

impl Answer {
    fn new(status: u16, body: String) -> Self {
        Self { status, body, retry_after: None }
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let manners = *lock(&shared.manners);
    let (wait, fate) = manners.fate(&mut lock(&shared.dice));
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    if !authorised(&shared, &headers) {
        return respond(outcome(refusal(401, "login", "a bearer token is needed")));
    }
    let rude = |answer: Answer| {
        lock(&shared.store).counts.rudeness += 1;
        respond(answer)
    };
    match fate {
        Fate::Failed(status) => return rude(outcome(refusal(status, "exception", "the server is not well"))),
        Fate::Throttled => {
            let mut answer = outcome(refusal(429, "throttled", "too many requests"));
            answer.retry_after = Some(manners.retry_after_s);
            return rude(answer);
        }
        Fate::Reset => {
            scissors.0.cancel();
            return rude(Answer::new(500, String::new()));
        }
        _ => {}
    }
    let answer = handle(&shared, &manners, &method, &uri, &headers, &body);
    if matches!(fate, Fate::LostByReset | Fate::LostByProxy | Fate::Truncated) {
        lock(&shared.store).counts.lost_answers += 1;
    }
    match fate {
        Fate::LostByReset => {
            scissors.0.cancel();
            respond(answer)
        }
        Fate::LostByProxy => respond(Answer::new(504, "<html>504 Gateway Time-out</html>".into())),
        Fate::Truncated => truncated(answer),
        Fate::Slow => trickling(answer, manners.slow_ms),
        _ => respond(answer),
    }
}

fn authorised(shared: &Shared, headers: &HeaderMap) -> bool {
    let Some(token) = &shared.token else { return true };
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    given.and_then(|v| v.strip_prefix("Bearer ")) == Some(token)
}

fn handle(shared: &Shared, manners: &Manners, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Answer {
    let path = uri.path();
    // The last segment that begins with a capital is the type.
    let kind = path.split('/').position(|s| s.starts_with(|c: char| c.is_ascii_uppercase()));
    let tail = kind.map(|n| path.split('/').skip(n).collect::<Vec<_>>().join("/"));
    if method == Method::GET {
        return get(shared, manners, uri, headers, tail.as_deref().unwrap_or_default());
    }
    if method == Method::DELETE {
        let gone =
            tail.as_deref().and_then(|t| t.split_once('/')).is_some_and(|(k, id)| lock(&shared.store).remove(k, id));
        let gone = gone.then(|| Answer::new(204, String::new()));
        return gone.unwrap_or_else(|| outcome(refusal(404, "not-found", "there is no such resource")));
    }
    let text = match text(headers, body) {
        Ok(text) => text,
        Err(r) => return outcome(r),
    };
    {
        let counts = &mut lock(&shared.store).counts;
        counts.requests += 1;
        counts.bytes += body.len() as u64;
    }
    if let Some(kind) = tail.as_deref().and_then(|t| t.strip_suffix("/$validate")) {
        return validate(manners, kind, &text);
    }
    match tail {
        None => bundle(shared, manners, &text),
        Some(mut url) => {
            if let Some(query) = uri.query() {
                let _ = write!(url, "?{query}");
            }
            let condition = headers.get("if-none-exist").and_then(|v| v.to_str().ok());
            let planned = plan(method.as_str(), &url, condition, &text);
            let done = write(shared, manners, vec![planned]);
            match done.into_iter().next() {
                Some(Ok(done)) => {
                    Answer::new(done.status, format!(r#"{{"resourceType":"{}","id":"{}"}}"#, done.kind, done.id))
                }
                Some(Err(r)) => outcome(r),
                None => outcome(refusal(500, "exception", "nothing was done")),
            }
        }
    }
}

/// The body as text, unpacked. At most ten times what may come over the wire.
fn text(headers: &HeaderMap, body: &Bytes) -> Result<String, Refusal> {
    let unreadable = refusal(400, "structure", "the body is not UTF-8, or not gzip as it says");
    let gzip = headers.get(header::CONTENT_ENCODING).is_some_and(|v| v == "gzip");
    let mut text = String::new();
    if gzip {
        let mut plain = GzDecoder::new(&**body).take(10 * LAB_BODY_BYTES_MAX as u64);
        plain.read_to_string(&mut text).map_err(|_| unreadable)?;
    } else {
        text = std::str::from_utf8(body).map_err(|_| unreadable)?.to_owned();
    }
    Ok(text)
}

/// Does the writes that were understood; one answer each, in order.
fn write(shared: &Shared, manners: &Manners, plans: Vec<Result<Plan<'_>, Refusal>>) -> Vec<Result<Done, Refusal>> {
    let mut store = lock(&shared.store);
    let mut dice = lock(&shared.dice);
    let mut live = lock(&shared.manners);
    store.counts.entries += plans.len() as u64;
    let now_ms = shared.clock.now().wall_ms;
    store.now_ms = now_ms;
    let mut one = |planned: Result<Plan<'_>, Refusal>| {
        let wanted = planned.and_then(|plan| match plan.chance() < manners.refuse_rate {
            true => Err(refusal(422, "business-rule", "this server does not want this one")),
            false => Ok(plan),
        });
        let plan = wanted.inspect_err(|_| store.counts.invalid += 1)?;
        if dice.chance(manners.entry_fail_rate) {
            store.counts.rudeness += 1;
            return Err(refusal(500, "transient", "this entry failed; the others did not"));
        }
        let blind = dice.chance(manners.unconditional_rate);
        let done = store.apply(&plan, blind, &mut live.forget);
        if done.status == 201 {
            store.date(&plan, now_ms);
        }
        Ok(done)
    };
    plans.into_iter().map(&mut one).collect()
}

/// What would become of a resource; nothing is stored.
fn validate(manners: &Manners, kind: &str, text: &str) -> Answer {
    let unwanted = refusal(422, "business-rule", "this server does not want this one");
    match plan("POST", kind, None, text) {
        Ok(plan) if plan.chance() < manners.refuse_rate => Answer::new(200, operation_outcome(unwanted)),
        Ok(_) => Answer::new(
            200,
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"information","code":"informational"}]}"#.into(),
        ),
        Err(r) => Answer::new(200, operation_outcome(r)),
    }
}

fn bundle(shared: &Shared, manners: &Manners, text: &str) -> Answer {
    let Ok(bundle) = serde_json::from_str::<Bundle>(text) else {
        return outcome(refusal(400, "structure", "not a Bundle of entries with resource and request"));
    };
    if bundle.resource_type != "Bundle" || !matches!(&*bundle.kind, "batch" | "transaction") {
        return outcome(refusal(400, "invalid", "only Bundles of type batch or transaction"));
    }
    if manners.bundle_max > 0 && bundle.entry.len() > manners.bundle_max {
        return outcome(refusal(413, "too-costly", "too many entries"));
    }
    let plans = bundle
        .entry
        .iter()
        .map(|e| plan(&e.request.method, &e.request.url, e.request.if_none_exist.as_deref(), e.resource.get()));
    let plans: Vec<_> = plans.collect();
    if bundle.kind == "transaction" {
        let first = plans.iter().find_map(|p| p.as_ref().err().copied());
        let unwanted = plans.iter().flatten().any(|p| p.chance() < manners.refuse_rate);
        let unwanted = unwanted.then_some(refusal(422, "business-rule", "this server does not want one of these"));
        if let Some(r) = first.or(dangling(&bundle.entry)).or(unwanted) {
            lock(&shared.store).counts.invalid += 1;
            return outcome(r);
        }
        // All or nothing: no entry of a transaction fails alone.
        let whole = Manners { entry_fail_rate: 0.0, ..*manners };
        return responses("transaction-response", &write(shared, &whole, plans));
    }
    responses("batch-response", &write(shared, manners, plans))
}

/// A reference to an entry that the transaction does not hold.
fn dangling(entries: &[Entry<'_>]) -> Option<Refusal> {
    let urls: Vec<&str> = entries.iter().filter_map(|e| e.full_url.as_deref()).collect();
    let points_nowhere = |resource: &RawValue| {
        let ends = resource.get().split("\"urn:uuid:").skip(1).filter_map(|s| s.split('"').next());
        ends.into_iter().any(|end| !urls.iter().any(|u| u.strip_prefix("urn:uuid:") == Some(end)))
    };
    let bad = entries.iter().any(|e| points_nowhere(e.resource));
    bad.then_some(refusal(400, "not-found", "a urn:uuid reference points to no entry"))
}

fn responses(kind: &str, done: &[Result<Done, Refusal>]) -> Answer {
    let mut body = format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":["#);
    for (n, one) in done.iter().enumerate() {
        body.push_str(if n == 0 { "" } else { "," });
        // Writing to a String cannot fail.
        let _ = match one {
            Ok(d) => write!(
                body,
                r#"{{"response":{{"status":"{}","location":"{}/{}/_history/{}","etag":"W/\"{}\""}}}}"#,
                phrase(d.status),
                d.kind,
                d.id,
                d.version,
                d.version
            ),
            Err(r) => write!(
                body,
                r#"{{"response":{{"status":"{}","outcome":{}}}}}"#,
                phrase(r.status),
                operation_outcome(*r)
            ),
        };
    }
    body.push_str("]}");
    Answer::new(200, body)
}

fn phrase(status: u16) -> String {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    status.to_string()
}

fn get(shared: &Shared, manners: &Manners, uri: &Uri, headers: &HeaderMap, tail: &str) -> Answer {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    if path.ends_with("/metadata") {
        return Answer::new(200, METADATA.into());
    }
    match search::whose(query).filter(|_| tail == "Observation") {
        Some(_) if manners.unsearchable => outcome(refusal(501, "not-supported", "no search by patient")),
        Some(whose) => {
            let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or("localhost");
            let address = format!("{}://{host}{path}", shared.scheme);
            let found = search::page(&lock(&shared.store), &whose, query, &address);
            found.map_or_else(outcome, |page| Answer::new(200, page))
        }
        None if tail.contains('/') || lock(&shared.store).keeps_nothing() => read(shared, tail, query),
        None => Answer::new(200, search::set(&lock(&shared.store), tail, query)),
    }
}

fn read(shared: &Shared, tail: &str, query: &str) -> Answer {
    let store = lock(&shared.store);
    let missing = refusal(404, "not-found", "there is no such resource, or bodies are not kept");
    if let Some((kind, id)) = tail.split_once('/') {
        return store.body(kind, id).map_or_else(|| outcome(missing), |b| Answer::new(200, b.to_string()));
    }
    let found: Vec<Arc<str>> = match parameter(query, "identifier") {
        Some(list) => list
            .split(',')
            .filter_map(|one| store.find(tail, one))
            .map(|id| {
                store.body(tail, &id).unwrap_or_else(|| format!(r#"{{"resourceType":"{tail}","id":"{id}"}}"#).into())
            })
            .collect(),
        None => store.bodies(tail),
    };
    let mut body = format!(r#"{{"resourceType":"Bundle","type":"searchset","total":{},"entry":["#, found.len());
    if parameter(query, "_summary").as_deref() != Some("count") {
        let entries: Vec<String> = found.iter().map(|b| format!(r#"{{"resource":{b}}}"#)).collect();
        body.push_str(&entries.join(","));
    }
    body.push_str("]}");
    Answer::new(200, body)
}

const fn refusal(status: u16, code: &'static str, text: &'static str) -> Refusal {
    Refusal { status, code, text }
}

fn operation_outcome(r: Refusal) -> String {
    let (code, text) = (r.code, r.text);
    format!(
        r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":"error","code":"{code}","diagnostics":"{text}"}}]}}"#
    )
}

fn outcome(r: Refusal) -> Answer {
    Answer::new(r.status, operation_outcome(r))
}

fn head(answer: &Answer) -> axum::http::response::Builder {
    let mut head = Response::builder().status(answer.status).header(header::CONTENT_TYPE, "application/fhir+json");
    if let Some(seconds) = answer.retry_after {
        head = head.header(header::RETRY_AFTER, seconds);
    }
    head
}

fn respond(answer: Answer) -> Response {
    let head = head(&answer);
    head.body(answer.body.into()).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// Half the body, though its whole length was announced.
fn truncated(answer: Answer) -> Response {
    let head = head(&answer).header(header::CONTENT_LENGTH, answer.body.len());
    let half = Bytes::copy_from_slice(answer.body.as_bytes().split_at(answer.body.len() / 2).0);
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let body = Body::from_stream(futures_util::stream::iter([Ok(half), Err(broken)]));
    head.body(body).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// The body in ten pieces over `ms`.
fn trickling(answer: Answer, ms: u64) -> Response {
    let head = head(&answer);
    let whole = Bytes::from(answer.body);
    let piece = whole.len().div_ceil(10).max(1);
    let pause = std::time::Duration::from_millis(ms / 10);
    let body = Body::from_stream(futures_util::stream::unfold(whole, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let next = rest.split_to(piece.min(rest.len()));
        Some((Ok::<_, Infallible>(next), rest))
    }));
    head.body(body).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

const METADATA: &str = r#"{"resourceType":"CapabilityStatement","status":"active","date":"2026-01-01","kind":"instance",
"software":{"name":"Wardline lab endpoint"},"fhirVersion":"4.0.1","format":["application/fhir+json"],"rest":[{"mode":"server",
"interaction":[{"code":"batch"},{"code":"transaction"}],"resource":[{"type":"Observation",
"interaction":[{"code":"create"},{"code":"update"},{"code":"read"},{"code":"search-type"}],
"updateCreate":true,"conditionalCreate":true,"conditionalUpdate":"single",
"searchParam":[{"name":"identifier","type":"token"},{"name":"patient","type":"reference"},
{"name":"subject","type":"reference"},{"name":"_lastUpdated","type":"date"}],
"operation":[{"name":"validate","definition":"http://hl7.org/fhir/OperationDefinition/Resource-validate"}]}]}]}"#;
