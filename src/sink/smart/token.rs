//! One question to a token server: where it is, the assertion, the answer.
//!
//! Promises: bounded bodies; an address that was discovered is held to the same rules as a configured one; an assertion is
//! good for one question and three minutes. Must never: log or return an assertion, or a server's free text.

use std::borrow::Cow;

use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::grant::Granted;
use super::key::{Key, KeyError, encoded, nonce};
use super::trouble::AuthTrouble;
use crate::clock::Stamp;
use crate::config::{self, SmartSettings};
use crate::limits;
use crate::sink::http::{Peer, exchange_dated};
use crate::sink::why::Trouble;

/// Where it stands below a FHIR server's base.
const WELL_KNOWN: &str = ".well-known/smart-configuration";

/// A token as it was given.
pub(super) struct Given {
    pub bearer: HeaderValue,
    pub seconds: u64,
    pub granted: Granted,
}

/// What of the discovery document is looked at.
#[derive(Deserialize)]
struct Discovered {
    token_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    token_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
}

/// Asks the FHIR server where tokens are given.
pub(super) async fn discover(fhir: &Peer, key: &Key) -> Result<String, AuthTrouble> {
    let request = fhir.client.get(fhir.below(WELL_KNOWN)).header(ACCEPT, "application/json");
    let (answer, _) =
        exchange_dated(request, limits::TOKEN_BYTES_MAX).await.map_err(|t| away("the FHIR server", &t))?;
    match answer.status {
        200..=299 => endpoint(&answer.body, key),
        429 | 500..=599 => Err(AuthTrouble::Away(format!("its FHIR server does not tell (HTTP {})", answer.status))),
        status => Err(AuthTrouble::Discovery(format!("{WELL_KNOWN} is not there (HTTP {status})").into())),
    }
}

fn endpoint(body: &[u8], key: &Key) -> Result<String, AuthTrouble> {
    let refused = |why: &'static str| Err(AuthTrouble::Discovery(why.into()));
    let Ok(found) = serde_json::from_slice::<Discovered>(body) else {
        return refused("the SMART configuration is not one");
    };
    let Some(url) = found.token_endpoint else { return refused("the SMART configuration names no token_endpoint") };
    if url.len() > limits::TOKEN_URL_CHARS_MAX || config::url_trouble(&url, ["https", "http"]).is_some() {
        return refused("the token_endpoint is no https address");
    }
    let lacks = |list: &Option<Vec<String>>, name: &str| list.as_ref().is_some_and(|l| !l.iter().any(|m| m == name));
    if lacks(&found.token_endpoint_auth_methods_supported, "private_key_jwt") {
        return refused("it does not take private_key_jwt");
    }
    if lacks(&found.token_endpoint_auth_signing_alg_values_supported, key.alg().name()) {
        return Err(AuthTrouble::Discovery(format!("it does not take {}", key.alg().name()).into()));
    }
    Ok(url)
}

/// A signed assertion (RFC 7523) for this address.
pub(super) fn assertion(
    settings: &SmartSettings,
    key: &Key,
    url: &str,
    now: Stamp,
) -> Result<Zeroizing<String>, KeyError> {
    let mut header = json!({ "alg": key.alg().name(), "kid": key.kid(), "typ": "JWT" });
    if let (Some(jku), Value::Object(members)) = (&settings.jku, &mut header) {
        members.insert("jku".into(), json!(jku));
    }
    let expires = now.wall_ms.div_euclid(1_000).saturating_add(limits::ASSERTION_SECONDS);
    let claims =
        json!({ "iss": settings.client_id, "sub": settings.client_id, "aud": url, "exp": expires, "jti": nonce()? });
    let mut text = Zeroizing::new(format!(
        "{}.{}",
        encoded(header.to_string().as_bytes()),
        encoded(claims.to_string().as_bytes())
    ));
    let signature = encoded(&key.sign(text.as_bytes())?);
    text.push('.');
    text.push_str(&signature);
    Ok(text)
}

/// Asks for a token.
pub(super) async fn ask(
    settings: &SmartSettings,
    peer: &Peer,
    url: &str,
    key: &Key,
    now: Stamp,
) -> Result<Given, AuthTrouble> {
    let signed = assertion(settings, key, url, now).map_err(|e| AuthTrouble::Key(e.to_string()))?;
    let form = form(&[
        ("grant_type", "client_credentials"),
        ("scope", &settings.scopes.join(" ")),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", &signed),
    ]);
    let request = peer
        .client
        .post(url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(form);
    let (answer, date) = exchange_dated(request, limits::TOKEN_BYTES_MAX).await.map_err(|t| away("it", &t))?;
    let body = Zeroizing::new(answer.body);
    match answer.status {
        200..=299 => given(&body, &settings.scopes),
        408 | 425 | 429 | 500..=599 => {
            Err(AuthTrouble::Away(format!("it does not answer now (HTTP {})", answer.status)))
        }
        300..=399 | 404 | 405 | 410 => {
            Err(AuthTrouble::Discovery(format!("the address gives no tokens (HTTP {})", answer.status).into()))
        }
        status => Err(refused(status, &body, now, date)),
    }
}

/// Form-encoded, by the URL library.
fn form(fields: &[(&str, &str)]) -> String {
    let Ok(mut url) = Url::parse("http://form") else { return String::new() };
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

/// What a failed exchange means. Nothing was given.
fn away(whose: &str, trouble: &Trouble) -> AuthTrouble {
    match trouble {
        Trouble::Unclear(_) => AuthTrouble::Unclear("it does not end"),
        other if whose == "it" => AuthTrouble::Away(other.to_string()),
        other => AuthTrouble::Away(format!("{whose} does not say where it is: {other}")),
    }
}

/// By the error code of OAuth; anything else of the answer is not ours to repeat.
fn refused(status: u16, body: &[u8], now: Stamp, date: Option<jiff::Timestamp>) -> AuthTrouble {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let error = serde_json::from_slice(body).map_or_else(|_| String::new(), |Refusal { error }| error);
    let fits = !error.is_empty() && error.len() <= 40 && error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if !fits {
        // Only a token server's own word is about our key.
        return AuthTrouble::Unclear("it refuses without an error of OAuth");
    }
    if error == "invalid_scope" {
        return AuthTrouble::Scope(error);
    }
    let error = format!("HTTP {status}: {error}");
    let ahead = date.map_or(0, |date| now.wall_ms.div_euclid(1_000).saturating_sub(date.as_second()));
    if ahead.unsigned_abs() > limits::TOKEN_CLOCK_OFF_SECONDS {
        let direction = if ahead > 0 { "ahead" } else { "behind" };
        return AuthTrouble::ClockOff { error, seconds: ahead.unsigned_abs(), direction };
    }
    AuthTrouble::Client(error)
}

/// A token, if this is one.
fn given(body: &[u8], asked: &[String]) -> Result<Given, AuthTrouble> {
    #[derive(Deserialize)]
    struct Token<'a> {
        #[serde(borrow)]
        access_token: Cow<'a, str>,
        #[serde(default)]
        token_type: Option<String>,
        #[serde(default)]
        expires_in: Option<Value>,
        #[serde(default)]
        scope: Option<String>,
    }
    let token: Token<'_> = serde_json::from_slice(body).map_err(|_| AuthTrouble::Unclear("it is not a token"))?;
    if token.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(AuthTrouble::Unclear("its token is not of the kind `bearer`"));
    }
    let formed = !token.access_token.is_empty() && token.access_token.bytes().all(|b| b.is_ascii_graphic());
    let text = Zeroizing::new(format!("Bearer {}", token.access_token));
    let mut bearer = match HeaderValue::from_str(&text) {
        Ok(bearer) if formed => bearer,
        _ => return Err(AuthTrouble::Unclear("its token is not one line of visible characters")),
    };
    bearer.set_sensitive(true);
    // Some servers write it in quotes; without it, the shortest that is recommended.
    let seconds = match token.expires_in {
        None | Some(Value::Null) => limits::TOKEN_SECONDS_UNSAID,
        Some(Value::String(s)) => s.trim().parse().unwrap_or(limits::TOKEN_SECONDS_UNSAID),
        // A number with a fraction, or below zero: it is over.
        Some(n) => n.as_u64().unwrap_or(0),
    };
    let granted = Granted::of(asked, token.scope.as_deref());
    Ok(Given { bearer, seconds: seconds.min(limits::TOKEN_SECONDS_MAX), granted })
}

#[cfg(test)]
mod tests;
