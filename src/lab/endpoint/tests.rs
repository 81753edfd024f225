use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;

/// One request over a fresh connection; status and body, or the error of the connection.
fn send(e: &Endpoint, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
    let mut tcp = TcpStream::connect(e.address)?;
    tcp.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
    let head = format!(
        "{method} /fhir{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    tcp.write_all(head.as_bytes())?;
    tcp.write_all(body)?;
    let mut text = String::new();
    tcp.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
    if length.is_some_and(|l| l != body.len()) {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok((status, body.to_owned()))
}

fn observation(n: u32, value: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","identifier":[{{"system":"urn:s","value":"v{n}"}}],"status":"final",
        "code":{{"coding":[{{"system":"http://loinc.org","code":"8867-4"}}]}},"subject":{{"reference":"Patient/a"}},
        "effectiveDateTime":"2026-11-22T10:00:00Z","valueQuantity":{{"value":{value},"code":"/min"}}}}"#
    )
}

fn entry(n: u32, value: &str) -> String {
    let resource = observation(n, value);
    format!(
        r#"{{"resource":{resource},"request":{{"method":"POST","url":"Observation","ifNoneExist":"identifier=urn:s|v{n}"}}}}"#
    )
}

fn bundle(kind: &str, entries: &[String]) -> Vec<u8> {
    format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{}]}}"#, entries.join(",")).into_bytes()
}

fn start(manners: Manners) -> Endpoint {
    Endpoint::start(Settings { manners, keep: true, ..Settings::default() }).unwrap()
}

#[test]
fn a_bundle_sent_twice_is_stored_once() {
    let e = start(Manners::default());
    let body = bundle("batch", &[entry(1, "60"), entry(2, "61")]);
    let (status, first) = send(&e, "POST", "", "", &body).unwrap();
    assert_eq!((status, first.matches("201 Created").count()), (200, 2));
    let (_, again) = send(&e, "POST", "/", "", &body).unwrap();
    assert_eq!(again.matches("200 OK").count(), 2);
    let locations = |s: &str| s.matches("/_history/1").count();
    assert_eq!((locations(&first), locations(&again)), (2, 2));
    let counts = e.counts();
    assert_eq!((counts.observations, counts.duplicates, counts.known, counts.conflicts), (2, 0, 2, 0));
    assert_eq!(e.tally().count("Patient/a", "8867-4"), 2);
    let (_, found) = send(&e, "GET", "/Observation?identifier=urn:s%7Cv2", "", b"").unwrap();
    assert!(found.contains(r#""total":1"#) && found.contains("61"), "{found}");
}

#[test]
fn a_patients_observations_are_found_page_by_page() {
    let e = start(Manners::default());
    let entries: Vec<String> = (1..=5).map(|n| entry(n, "60")).collect();
    send(&e, "POST", "", "", &bundle("batch", &entries)).unwrap();
    let find = |path: &str| -> (u16, serde_json::Value) {
        let (status, text) = send(&e, "GET", path, "", b"").unwrap();
        (status, serde_json::from_str(&text).unwrap())
    };
    let (mut path, mut ids) = (
        "/Observation?patient=a&_lastUpdated=ge2026-01-01T00:00:00Z&_elements=identifier,meta&_count=2".to_owned(),
        vec![],
    );
    loop {
        let (status, page) = find(&path);
        assert_eq!((status, &page["total"]), (200, &5.into()), "{page}");
        for entry in page["entry"].as_array().unwrap() {
            assert!(entry["resource"]["meta"]["lastUpdated"].is_string() && entry["resource"]["code"].is_null());
            assert!(entry["resource"]["identifier"].is_array(), "{entry}");
            ids.push(entry["resource"]["id"].as_str().unwrap().to_owned());
        }
        let next = page["link"].as_array().unwrap().iter().find(|l| l["relation"] == "next");
        let Some(next) = next else { break };
        path = next["url"].as_str().unwrap().split_once("/fhir").unwrap().1.to_owned();
    }
    ids.dedup();
    assert_eq!(ids.len(), 5);
    assert_eq!(find("/Observation?patient=Patient/b").1["total"], 0);
    assert_eq!(find("/Observation?patient=a&_lastUpdated=ge2200-01-01T00:00:00Z").1["total"], 0);
    assert_eq!(find("/Observation?patient=a&_lastUpdated=lt2200-01-01").0, 400);
    e.behave(Manners { unsearchable: true, ..Manners::default() });
    assert_eq!(find("/Observation?patient=a").0, 501);
    let bare = Endpoint::start(Settings::default()).unwrap();
    let (status, why) = send(&bare, "GET", "/Observation?patient=a", "", b"").unwrap();
    assert!(status == 501 && why.contains("bodies are not kept"), "{why}");
}

#[test]
fn another_content_under_the_same_identifier_is_a_conflict_and_not_merged() {
    let e = start(Manners::default());
    send(&e, "POST", "", "", &bundle("batch", &[entry(1, "60")])).unwrap();
    send(&e, "POST", "", "", &bundle("batch", &[entry(1, "99")])).unwrap();
    let counts = e.counts();
    assert_eq!((counts.observations, counts.conflicts, counts.updated), (1, 1, 0));
}

#[test]
fn without_the_condition_it_is_there_twice_and_counted() {
    let e = start(Manners::default());
    for _ in 0..2 {
        assert_eq!(send(&e, "POST", "/Observation", "", observation(1, "60").as_bytes()).unwrap().0, 201);
    }
    assert_eq!((e.counts().observations, e.counts().duplicates), (2, 1));
    let e = start(Manners { unconditional_rate: 1.0, ..Manners::default() });
    for _ in 0..3 {
        send(&e, "POST", "", "", &bundle("batch", &[entry(1, "60")])).unwrap();
    }
    assert_eq!((e.counts().observations, e.counts().duplicates), (3, 2));
}

#[test]
fn create_and_update_each_have_a_conditional_form() {
    let e = start(Manners::default());
    let header = "If-None-Exist: identifier=urn:s|v1\r\n";
    let body = observation(1, "60");
    assert_eq!(send(&e, "POST", "/Observation", header, body.as_bytes()).unwrap().0, 201);
    assert_eq!(send(&e, "POST", "/Observation", header, body.as_bytes()).unwrap().0, 200);
    let put = |path: &str, body: &str| send(&e, "PUT", path, "", body.as_bytes()).unwrap().0;
    assert_eq!(put("/Observation?identifier=urn:s|v1", &observation(1, "62")), 200);
    assert_eq!(put("/Observation?identifier=urn:s|v2", &observation(2, "62")), 201);
    let named = observation(3, "63").replacen('{', r#"{"id":"abc","#, 1);
    assert_eq!((put("/Observation/abc", &named), put("/Observation/abc", &named)), (201, 200));
    assert_eq!(put("/Observation/other", &named), 400);
    assert_eq!(put("/Observation?code=1", &named), 412);
    let counts = e.counts();
    assert_eq!((counts.observations, counts.duplicates, counts.updated, counts.known), (3, 0, 1, 2));
}

#[test]
fn a_batch_isolates_what_a_transaction_refuses_whole() {
    let e = start(Manners::default());
    let bad = entry(2, "61").replace("final", "bogus");
    let mixed = [entry(1, "60"), bad];
    let (status, answer) = send(&e, "POST", "", "", &bundle("batch", &mixed)).unwrap();
    assert_eq!(status, 200);
    assert!(answer.contains("201 Created") && answer.contains("422 Unprocessable"), "{answer}");
    assert_eq!(e.counts().observations, 1);
    let (status, answer) =
        send(&e, "POST", "", "", &bundle("transaction", &[entry(3, "60"), mixed[1].clone()])).unwrap();
    assert_eq!(status, 422);
    assert!(answer.contains("OperationOutcome"));
    assert_eq!(e.counts().observations, 1);
    assert_eq!(send(&e, "POST", "", "", b"{\"resourceType\":").unwrap().0, 400);
    let dangling = entry(4, "60").replace("Patient/a", "urn:uuid:nobody");
    assert_eq!(send(&e, "POST", "", "", &bundle("transaction", &[dangling])).unwrap().0, 400);
}

#[test]
fn bodies_may_be_compressed() {
    let e = start(Manners::default());
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&bundle("batch", &[entry(1, "60")])).unwrap();
    let packed = gz.finish().unwrap();
    assert_eq!(send(&e, "POST", "", "Content-Encoding: gzip\r\n", &packed).unwrap().0, 200);
    assert_eq!(e.counts().observations, 1);
    assert_eq!(send(&e, "POST", "", "Content-Encoding: gzip\r\n", b"no").unwrap().0, 400);
}

#[test]
fn bad_manners_happen_as_asked() {
    let body = bundle("batch", &[entry(1, "60")]);
    let with = |manners| {
        let e = start(manners);
        let answer = send(&e, "POST", "", "", &body);
        (answer, e.counts())
    };
    let polite = Manners::default();
    let (answer, counts) = with(Manners { fail_rate: 1.0, ..polite });
    assert!(answer.unwrap().0 >= 500 && counts.observations == 0 && counts.rudeness == 1);
    let (answer, counts) = with(Manners { throttle_rate: 1.0, ..polite });
    assert!(answer.unwrap().0 == 429 && counts.observations == 0);
    let (answer, counts) = with(Manners { reset_rate: 1.0, ..polite });
    assert!(answer.is_err() && counts.observations == 0);
    let (answer, counts) = with(Manners { lost_rate: 1.0, ..polite });
    assert!(answer.is_err() || answer.unwrap().0 == 504);
    assert_eq!((counts.observations, counts.lost_answers), (1, 1));
    let (answer, counts) = with(Manners { truncate_rate: 1.0, ..polite });
    assert!(answer.is_err() && counts.observations == 1);
    let (answer, counts) = with(Manners { slow_rate: 1.0, slow_ms: 30, ..polite });
    assert!(answer.unwrap().1.contains("201 Created") && counts.observations == 1);
    let (answer, counts) = with(Manners { refuse_rate: 1.0, ..polite });
    assert!(answer.unwrap().1.contains("422") && counts.invalid == 1);
    let (answer, counts) = with(Manners { entry_fail_rate: 1.0, ..polite });
    assert!(answer.unwrap().1.contains("500") && counts.observations == 0);
    let (answer, counts) = with(Manners { forget: 1, ..polite });
    assert!(answer.unwrap().1.contains("201 Created"));
    assert_eq!((counts.observations, counts.forgotten), (0, 1));
    let e = start(Manners { forget: 1, ..polite });
    (0..2).for_each(|_| drop(send(&e, "POST", "", "", &body).unwrap()));
    assert_eq!((e.counts().observations, e.counts().forgotten), (0, 1), "sent again, it is still forgotten");
    let two = bundle("batch", &[entry(1, "60"), entry(2, "60")]);
    let e = start(Manners { bundle_max: 1, ..polite });
    assert_eq!(send(&e, "POST", "", "", &two).unwrap().0, 413);
}

#[test]
fn an_outage_refuses_and_ends_on_the_same_port() {
    let e = start(Manners::default());
    let body = bundle("batch", &[entry(1, "60")]);
    let mut open = TcpStream::connect(e.address).unwrap();
    e.behave(Manners { outage: Outage::Refuse, ..Manners::default() });
    // The open connection ends, whichever way.
    let mut rest = Vec::new();
    let _ = open.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert!(send(&e, "POST", "", "", &body).is_err());
    e.behave(Manners { outage: Outage::Unavailable, ..Manners::default() });
    let until_answered = || {
        for _ in 0..2_000 {
            if let Ok((status, _)) = send(&e, "POST", "", "", &body) {
                return status;
            }
            std::thread::yield_now();
        }
        0
    };
    assert_eq!(until_answered(), 503);
    e.behave(Manners::default());
    assert_eq!(until_answered(), 200);
    assert_eq!(e.counts().observations, 1);
}

#[test]
fn a_token_is_asked_for() {
    let e = Endpoint::start(Settings { token: Some("t".into()), ..Settings::default() }).unwrap();
    let body = bundle("batch", &[entry(1, "60")]);
    assert_eq!(send(&e, "POST", "", "", &body).unwrap().0, 401);
    assert_eq!(send(&e, "POST", "", "Authorization: Bearer t\r\n", &body).unwrap().0, 200);
    assert!(send(&e, "GET", "/metadata", "Authorization: Bearer t\r\n", b"").unwrap().1.contains("conditionalCreate"));
}
