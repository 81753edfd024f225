//! Each thing that a configuration can get wrong, with the code, the key and no quotation of the file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Config, ConfigError, DestinationSettings, SourceSettings};

const GOOD: &str = r#"
[gateway]
id = "box-1"
state = "state"
time_zone = "Europe/Vienna"

[journal]
key_file = "secrets/key"

[[source]]
kind = "mqtt"
name = "ward"
url = "mqtts://broker.example:8883"
user = "box-1"
password_file = "secrets/mqtt"

[[destination]]
kind = "fhir"
name = "centre"
url = "https://fhir.example/r4"
consent = "enrolment"
idempotency = "update"

[[destination]]
kind = "webhook"
name = "pager"
url = "https://pager.example/in"
consent = "enrolment"
secret_file = "secrets/pager"

[[patient]]
reference = "Patient/8f2c"
display = "Grandma canary-17"

[[device]]
id = "mqtt:cuff-17"
patient = "Patient/8f2c"

[heartbeat]
url = "https://fleet.example/beat"
"#;

fn findings(text: &str) -> Vec<(&'static str, String, String)> {
    match Config::parse(text, Path::new("/etc/wardline/wardline.toml")) {
        Ok(_) => vec![],
        Err(ConfigError::Invalid { findings, .. }) => findings.into_iter().map(|f| (f.code, f.key, f.reason)).collect(),
        Err(e) => panic!("{e}"),
    }
}

/// Replaces `from` by `to` in the good file and expects this one finding.
#[track_caller]
fn bad(from: &str, to: &str, code: &str, key: &str) {
    assert!(GOOD.contains(from), "{from}");
    let found = findings(&GOOD.replacen(from, to, 1));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0, found[0].1.as_str()), (code, key), "{found:?}");
    assert!(!found[0].2.contains("canary"), "{found:?}");
}

#[test]
fn the_good_one_is_good_and_its_paths_start_at_its_folder() {
    let config = Config::parse(GOOD, Path::new("/etc/wardline/wardline.toml")).unwrap();
    assert_eq!(config.gateway.state, Path::new("/etc/wardline/state"));
    let SourceSettings::Mqtt(mqtt) = &config.sources[0] else { panic!("an MQTT source") };
    assert_eq!(mqtt.password_file.as_deref(), Some(Path::new("/etc/wardline/secrets/mqtt")));
    let DestinationSettings::Webhook(pager) = &config.destinations[1] else { panic!() };
    assert_eq!(pager.secret_file, Path::new("/etc/wardline/secrets/pager"));
    assert_eq!(config.control.socket, Path::new("/run/wardline/control.sock"));
}

#[test]
fn a_parse_error_names_line_and_key_also_within_a_source() {
    bad("time_zone =", "zone =", "WL-C002", "line 5, gateway.zone");
    bad("id = \"box-1\"", "id = 7", "WL-C002", "line 3, gateway.id");
    bad("user =", "usr =", "WL-C002", "line 14, source.usr");
    bad("name = \"ward\"", "name = \"ward\"\nin_flight = \"many\"", "WL-C002", "line 13, source.in_flight");
    bad("\"mqtt\"", "\"carrier-pigeon\"", "WL-C002", "line 11, source.kind");
    bad("\"update\"", "\"hope\"", "WL-C002", "line 22, destination.idempotency");
    bad("idempotency = \"update\"", "", "WL-C002", "line 18, destination.kind");
    bad("[gateway]", "[gateway", "WL-C002", "line 2, gateway");
    // A webhook is told of alerts, and not of what people do.
    bad("secret_file =", "audit = true\nsecret_file =", "WL-C002", "line 29, destination.audit");
}

#[test]
fn names_and_ids() {
    bad("id = \"box-1\"", "id = \"box 1\"", "WL-C003", "gateway.id");
    bad("name = \"ward\"", "name = \"\"", "WL-C003", "source.name");
    bad("name = \"pager\"", "name = \"centre\"", "WL-C004", "destination");
    bad("id = \"mqtt:cuff-17\"", "id = \"cuff-17\"", "WL-C003", "device.id");
    bad(
        "Patient/8f2c\"\ndisplay",
        "Patient/8f2c\"\n[[patient]]\nreference = \"Patient/8f2c\"\ndisplay",
        "WL-C004",
        "patient",
    );
}

#[test]
fn addresses() {
    bad("mqtts://broker.example:8883", "broker.example", "WL-C005", "source ward, url");
    bad("mqtts://broker.example:8883", "mqtt://broker.example", "WL-C005", "source ward, url");
    bad("https://fhir.example/r4", "http://fhir.example/r4", "WL-C005", "destination centre, url");
    bad("https://fhir.example/r4", "ftp://fhir.example/r4", "WL-C005", "destination centre, url");
    bad("https://fhir.example/r4", "https://ada:canary@fhir.example/r4", "WL-C005", "destination centre, url");
    bad("https://fleet.example/beat", "http://192.0.2.1/beat", "WL-C005", "heartbeat.url");
    for here in ["http://127.0.0.1:8080/r4", "http://localhost/r4", "http://[::1]:8080/r4"] {
        assert_eq!(findings(&GOOD.replace("https://fhir.example/r4", here)), [], "{here}");
    }
    let open = format!("{GOOD}[page]\nlisten = \"0.0.0.0:8080\"\n[control]\nstatus_tcp = \"192.0.2.7:9100\"\n");
    let open: Vec<_> = findings(&open).into_iter().map(|(code, key, _)| (code, key)).collect();
    assert_eq!(open, [("WL-C009", "control.status_tcp".into()), ("WL-C009", "page.listen".into())]);
}

#[test]
fn zones_numbers_levels_and_references() {
    bad("Europe/Vienna", "Europe/Wien", "WL-C008", "gateway.time_zone");
    bad("name = \"ward\"", "name = \"ward\"\nin_flight = 0", "WL-C010", "source ward, in_flight");
    bad("[heartbeat]", "[log]\nlevel = \"loud\"\n[heartbeat]", "WL-C011", "log.level");
    bad("patient = \"Patient/8f2c\"", "patient = \"Patient/canary\"", "WL-C012", "device mqtt:cuff-17");
    bad("patient = \"Patient/8f2c\"", "slots = { x = \"Patient/8f2c\" }", "WL-C013", "device mqtt:cuff-17");
    bad("[[device]]", "[[patient]]\nreference = \"8f2c canary\"\n[[device]]", "WL-C003", "patient number 2");
    let follows = |more: &str| format!("name = \"centre\"\nfollow_tasks = {{ {more} }}");
    bad("name = \"centre\"", &follows("every_s = 0"), "WL-C010", "destination centre, follow_tasks.every_s");
    bad(
        "idempotency =",
        "audit = true\nbundle = \"collection\"\nidempotency =",
        "WL-C013",
        "destination centre, audit",
    );
    let documents = format!("{}\nbundle = \"collection\"", follows(""));
    bad("name = \"centre\"", &documents, "WL-C013", "destination centre, follow_tasks");
    bad("user = \"box-1\"\n", "", "WL-C013", "source ward, password_file");
    bad("user =", "topics = [\"a/b#\"]\nuser =", "WL-C013", "source ward, topics");
    let deep = format!("{GOOD}[control]\nsocket = \"/{}/c.sock\"\n", "x".repeat(108));
    assert_eq!(findings(&deep)[0].0, "WL-C010");
}

/// A destination that gets tokens; put below the FHIR server's.
const SMART: &str = "idempotency = \"update\"\n[destination.auth]\nkind = \"smart\"\nclient_id = \"box-1\"\n\
                     key_file = \"secrets/smart\"\nscopes = [\"system/Observation.cu\"]\n";

#[test]
fn tokens() {
    let with = |from: &str, to: &str| {
        assert!(SMART.contains(from), "{from}");
        let text = GOOD.replacen("idempotency = \"update\"\n", &SMART.replacen(from, to, 1), 1);
        findings(&text).into_iter().map(|(code, key, _)| format!("{code} {key}")).collect::<Vec<_>>()
    };
    assert!(with("kind", "kind").is_empty());
    for (from, to, finding) in [
        ("\n[dest", "\ntoken_file = \"t\"\n[dest", "WL-C013 destination centre, token_file"),
        ("box-1", "", "WL-C013 destination centre, auth.client_id"),
        ("\"system/Observation.cu\"", "", "WL-C013 destination centre, auth.scopes"),
        ("system/Observation.cu", "a b", "WL-C013 destination centre, auth.scopes"),
        ("scopes", "token_url = \"http://auth.example/t\"\nscopes", "WL-C005 destination centre, auth.token_url"),
        ("scopes", "jku = \"keys.json\"\nscopes", "WL-C005 destination centre, auth.jku"),
        ("scopes", "new_key_after_min = 99999\nscopes", "WL-C010 destination centre, auth.new_key_after_min"),
    ] {
        assert_eq!(with(from, to), [finding]);
    }
    for from in ["smart\"\n", "client_id", "scopes"] {
        let found = with(from, "other");
        assert!(found.len() == 1 && found[0].starts_with("WL-C002"), "{found:?}");
    }
    let text = GOOD.replacen("idempotency = \"update\"\n", SMART, 1);
    let config = Config::parse(&text, Path::new("/etc/wardline/wardline.toml")).unwrap();
    let DestinationSettings::Fhir(fhir) = &config.destinations[0] else { panic!() };
    let Some(super::AuthSettings::Smart(smart)) = &fhir.auth else { panic!() };
    assert_eq!(smart.key_file, Path::new("/etc/wardline/secrets/smart"), "from the file's folder");
}

#[test]
fn an_hl7_receiver_is_named_whole_and_spoken_to_over_tls() {
    let with = |text: &str| {
        let authority = if text.contains("assigning_authority") { "" } else { "assigning_authority = \"CLINIC\"\n" };
        let consent = "consent = \"enrolment\"\n";
        findings(&format!("{GOOD}[[destination]]\nkind = \"hl7\"\nname = \"lab\"\n{consent}{authority}{text}"))
    };
    let url = "url = \"mllps://lab.example\"\n";
    assert_eq!(with(url), []);
    assert_eq!(with("url = \"mllp://127.0.0.1:2575\""), []);
    for (text, code, key) in [
        ("url = \"mllp://lab.example\"".to_owned(), "WL-C005", "url"),
        ("url = \"https://lab.example\"".to_owned(), "WL-C005", "url"),
        (format!("{url}assigning_authority = \" \""), "WL-C013", "assigning_authority"),
        (format!("{url}eui64 = \"0123\""), "WL-C013", "eui64"),
        (format!("{url}processing_id = \"X\""), "WL-C013", "processing_id"),
        (format!("{url}readings_per_message = 0"), "WL-C010", "readings_per_message"),
        (format!("{url}batch = 0"), "WL-C010", "batch"),
        (format!("{url}batch = 201"), "WL-C010", "batch"),
        (format!("{url}sending_facility = \"a\\rb\""), "WL-C010", "sending_facility"),
        (format!("{url}client_certificate_file = \"x.pem\""), "WL-C013", "client_key_file"),
        ("url = \"mllp://[::1]:2575\"\nca_file = \"x.pem\"".to_owned(), "WL-C013", "url"),
    ] {
        let found = with(&text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!((found[0].0, &*found[0].1), (code, &*format!("destination lab, {key}")), "{text}");
    }
    assert_eq!(with(&format!("{url}batch = 200\ncharset = \"8859/1\"")), []);
    assert!(with(&format!("{url}charset = \"latin1\""))[0].2.contains("8859/1"), "it says which there are");
    // Nobody guesses whose number it is.
    let unnamed = findings(&format!("{GOOD}[[destination]]\nkind = \"hl7\"\nname = \"lab\"\n{url}"));
    assert!(unnamed[0].2.contains("assigning_authority"), "{unnamed:?}");
}

#[test]
fn files_are_there_and_secrets_are_for_us_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mode = |name: &str, mode| std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    let codes = || match Config::load(&at("wardline.toml")) {
        Ok(_) => vec![],
        Err(ConfigError::Invalid { findings, .. }) => findings.iter().map(|f| f.code).collect(),
        Err(e) => vec![crate::fault::Explain::code(&e)],
    };
    assert_eq!(codes(), ["WL-C001"]);
    std::fs::write(at("wardline.toml"), GOOD).unwrap();
    mode("wardline.toml", 0o644);
    assert_eq!(codes(), ["WL-C007"; 3]);
    std::fs::create_dir(at("secrets")).unwrap();
    for secret in ["secrets/key", "secrets/mqtt", "secrets/pager"] {
        std::fs::write(at(secret), "hush").unwrap();
        mode(secret, 0o600);
    }
    assert_eq!(codes(), Vec::<&str>::new());
    let without = GOOD.replace("key_file = \"secrets/key\"", "");
    std::fs::write(at("wardline.toml"), &without).unwrap();
    assert_eq!(codes(), ["WL-C015"]);
    std::fs::write(at("wardline.toml"), without.replace("[journal]", "[journal]\nunencrypted = true")).unwrap();
    assert_eq!(codes(), Vec::<&str>::new());
    std::fs::write(at("wardline.toml"), GOOD.replace("[journal]", "[journal]\nunencrypted = true")).unwrap();
    assert_eq!(codes(), ["WL-C015"]);
    std::fs::write(at("wardline.toml"), GOOD).unwrap();
    mode("secrets/pager", 0o604);
    assert_eq!(codes(), ["WL-C006"]);
    mode("secrets/pager", 0o620);
    assert_eq!(codes(), ["WL-C006"]);
    mode("secrets/pager", 0o400);
    mode("wardline.toml", 0o666);
    assert_eq!(codes(), ["WL-C006"]);
}

#[test]
fn names_of_people_stay_out_of_debug_output() {
    let config = Config::parse(GOOD, Path::new("x.toml")).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("canary") && !shown.contains("8f2c"), "{shown}");
}
