//! `wardline lab endpoint` as a script uses it: one line says where it is, the other port changes its manners.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by ending")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Ends the server with the test, whatever fails.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One request to `http://host:port/path`; status and body.
fn ask(method: &str, url: &str, body: &str) -> (u16, String) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut tcp = TcpStream::connect(host).unwrap();
    let head = "Connection: close\r\nContent-Type: application/json";
    write!(tcp, "{method} /{path} HTTP/1.1\r\nHost: {host}\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn manners_change_while_it_runs_and_counts_are_told() {
    let args = ["lab", "endpoint", "--seed", "3"];
    let child = Command::new(env!("CARGO_BIN_EXE_wardline")).args(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut server = Server(child);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let at: serde_json::Value = serde_json::from_str(&line).unwrap();
    let (fhir, control) = (at["fhir"].as_str().unwrap(), at["control"].as_str().unwrap());

    assert_eq!(ask("GET", &format!("{fhir}/metadata"), "").0, 200);
    let bundle = r#"{"resourceType":"Bundle","type":"batch","entry":[]}"#;
    assert_eq!(ask("POST", &format!("{fhir}/"), bundle).0, 200);
    let (status, manners) = ask("PUT", &format!("{control}/manners"), r#"{"outage":"unavailable"}"#);
    assert!(status == 200 && manners.contains(r#""outage":"unavailable""#), "{manners}");
    assert_eq!(ask("POST", &format!("{fhir}/"), bundle).0, 503);
    for nonsense in [r#"{"outage":"away"}"#, r#"{"politeness":1}"#] {
        assert_eq!(ask("PUT", &format!("{control}/manners"), nonsense).0, 400, "{nonsense}");
    }
    let counts: serde_json::Value = serde_json::from_str(&ask("GET", &format!("{control}/counts"), "").1).unwrap();
    assert_eq!((&counts["requests"], &counts["rudeness"]), (&1.into(), &1.into()), "{counts}");
}
