//! Who may talk to the page: its own origin only.
//!
//! A `Host` that is not ours is another site's name pointed at this machine. A change needs a header that no form of
//! another site can send, and an `Origin` that is ours. Answers forbid every code, frame and destination but ours.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::control::Desk;
use crate::control::witness::Caller;

/// Header of our script's changes.
pub(super) const MARK: HeaderName = HeaderName::from_static("x-wardline");

/// Whoever sits before the page, in the record of who looked at what.
pub(super) const ANYBODY: &str = "local page";
const TECHNICIAN: &str = "technician at the local page";

/// Header of a technician's word.
const WORD: HeaderName = HeaderName::from_static("x-wardline-technician");

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const ALWAYS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The names under which the page is reached.
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    pub(super) fn of(address: SocketAddr) -> Self {
        Self(vec![address.to_string(), format!("localhost:{}", address.port())])
    }

    fn is_ours(&self, host: &str) -> bool {
        self.0.iter().any(|h| h.eq_ignore_ascii_case(host))
    }

    fn admits(&self, method: &Method, headers: &HeaderMap) -> bool {
        let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        let ours =
            |name: HeaderName| text(name).is_none_or(|o| o.strip_prefix("http://").is_some_and(|h| self.is_ours(h)));
        let one_host = headers.get_all(header::HOST).iter().count() == 1;
        let host = one_host && text(header::HOST).is_some_and(|h| self.is_ours(h));
        let harmless = matches!(*method, Method::GET | Method::HEAD);
        host && ours(header::ORIGIN) && (harmless || headers.contains_key(MARK))
    }
}

/// Says what the caller may do: an operator, unless a technician's word comes in its header, which no other site can send.
pub(super) async fn who(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    let word = request.headers().get(WORD).and_then(|v| v.to_str().ok());
    let role = desk.technicians.role(word, desk.clock.now());
    let words = if role.serves_devices() { TECHNICIAN } else { ANYBODY };
    request.extensions_mut().insert(Caller(words.into()));
    request.extensions_mut().insert(role);
    next.run(request).await
}

pub(super) async fn guard(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let mut response = if hosts.admits(request.method(), request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "This page answers its own address only.\n").into_response()
    };
    for (name, value) in ALWAYS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(method: Method, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Hosts::of("127.0.0.1:8737".parse().unwrap()).admits(&method, &map)
    }

    #[test]
    fn another_name_for_this_machine_is_refused() {
        assert!(admits(Method::GET, &[("host", "127.0.0.1:8737")]));
        assert!(admits(Method::GET, &[("host", "LOCALHOST:8737")]));
        for host in ["evil.example", "127.0.0.1", "127.0.0.1:80", "localhost.evil:8737", ""] {
            assert!(!admits(Method::GET, &[("host", host)]), "{host}");
        }
        assert!(!admits(Method::GET, &[]));
        assert!(!admits(Method::GET, &[("host", "localhost:8737"), ("host", "evil.example")]));
    }

    #[test]
    fn a_change_needs_our_mark_and_our_origin() {
        let host = ("host", "127.0.0.1:8737");
        let mark = ("x-wardline", "page");
        assert!(!admits(Method::POST, &[host]));
        assert!(admits(Method::POST, &[host, mark]));
        assert!(admits(Method::POST, &[host, mark, ("origin", "http://127.0.0.1:8737")]));
        for origin in ["http://evil.example", "https://127.0.0.1:8737", "null", "http://127.0.0.1:87370"] {
            assert!(!admits(Method::POST, &[host, mark, ("origin", origin)]), "{origin}");
        }
    }
}
