//! What a parsed configuration must hold beyond its types: names, references, addresses, ranges, files.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{
    AuthSettings, BluetoothSettings, BundleKind, Config, DestinationSettings, DeviceForm, DeviceSettings, FhirSettings,
    Finding, HL7_BATCH_MAX, Hl7Settings, LogSettings, MqttSettings, NatsSettings, References, SmartSettings,
    SourceSettings, preset,
};
use crate::minimum::{Field, Fields};
use crate::{limits, tls};

/// A Unix socket's path must fit into the kernel's `sun_path` with its closing zero.
const SOCKET_PATH_MAX: usize = 107;

/// Findings, gathered.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(
        &mut self,
        code: &'static str,
        key: impl Into<String>,
        reason: impl Into<String>,
        remedy: &'static str,
    ) {
        self.0.push(Finding { code, key: key.into(), reason: reason.into(), remedy });
    }

    pub(super) fn name(&mut self, key: &str, name: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            let reason = "a name has 1 to 64 of A-Z a-z 0-9 - . _";
            self.add("WL-C003", key, reason, "Give it another name.");
        }
    }

    /// A word of a subject.
    pub(super) fn word(&mut self, key: &str, word: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if word.is_empty() || word.len() > 32 || !word.chars().all(fits) {
            self.add("WL-C003", key, "this has 1 to 32 of A-Z a-z 0-9 - _", "Give it another name.");
        }
    }

    fn unique<'a>(&mut self, key: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for (n, name) in names.enumerate() {
            if !seen.insert(name) {
                let reason = format!("number {} is called like one before it", n + 1);
                self.add("WL-C004", key, reason, "Give each a name of its own.");
            }
        }
    }

    pub(super) fn range<T: PartialOrd + std::fmt::Display>(&mut self, key: &str, n: T, from: T, to: T) {
        if n < from || n > to {
            self.add("WL-C010", key, format!("{n} is not within {from} to {to}"), "Choose a number in this range.");
        }
    }

    fn loopback(&mut self, key: &str, at: SocketAddr) {
        if !at.ip().is_loopback() {
            let reason = format!("{at} is reachable from the network");
            self.add("WL-C009", key, reason, "Use 127.0.0.1 or [::1]; let a proxy with TLS stand before it.");
        }
    }

    /// `secure` and `plain` are the schemes with and without TLS.
    fn url(&mut self, key: &str, url: &str, schemes: [&str; 2]) {
        if let Some((reason, remedy)) = url_trouble(url, schemes) {
            self.add("WL-C005", key, reason, remedy);
        }
    }

    fn zone(&mut self, key: &str, zone: &str) {
        if jiff::tz::TimeZone::get(zone).is_err() {
            let reason = format!("there is no time zone `{zone}`");
            self.add("WL-C008", key, reason, "Use an IANA name such as Europe/Vienna.");
        }
    }

    pub(super) fn socket(&mut self, key: &str, path: &Path) {
        let length = path.as_os_str().as_bytes().len();
        if length > SOCKET_PATH_MAX {
            let reason = format!("the path has {length} bytes; {SOCKET_PATH_MAX} fit");
            self.add("WL-C010", key, reason, "Choose a shorter path.");
        }
    }

    pub(super) fn levels(&mut self, log: &LogSettings) {
        if !levels_are_valid(&log.level) {
            let reason = "a level is error, warn, info, debug or trace, for one module as in `info,journal=debug`";
            self.add("WL-C011", "log.level", reason, "Choose one of them.");
        }
    }

    fn file(&mut self, key: String, path: &Path) {
        if let Err(e) = std::fs::File::open(path) {
            let reason = format!("{} cannot be read: {e}", path.display());
            self.add("WL-C007", key, reason, "Create it, or let the gateway's user read it.");
        }
    }

    fn tls(&mut self, key: impl Fn(&str) -> String, files: &tls::Files) {
        let open = [("ca_file", &files.authorities), ("crl_file", &files.revoked)];
        open.into_iter().for_each(|(name, file)| file.iter().for_each(|file| self.file(key(name), file)));
        if let Some((chain, secret)) = &files.identity {
            self.file(key("client_certificate_file"), chain);
            self.secret(key("client_key_file"), secret);
        }
    }

    fn both(&mut self, key: impl Fn(&str) -> String, certificate: &Option<PathBuf>, secret: &Option<PathBuf>) {
        if certificate.is_some() != secret.is_some() {
            let reason = "certificate and key come together";
            self.add("WL-C013", key("client_key_file"), reason, "Give both or neither.");
        }
    }

    fn secret(&mut self, key: String, path: &Path) {
        self.file(key.clone(), path);
        let Ok(meta) = std::fs::metadata(path) else { return };
        // The service manager keeps credentials itself and lets our user in by an access list, which shows as group bits.
        let managed = path.starts_with("/run/credentials");
        let others = meta.permissions().mode() & if managed { 0o007 } else { 0o077 };
        if others != 0 {
            let mode = meta.permissions().mode() & 0o777;
            let reason = format!("others can read or change {} (mode {mode:03o})", path.display());
            self.add("WL-C006", key, reason, "chmod 0600, and change the secret: somebody may have read it.");
        }
    }
}

impl Config {
    /// Everything that can be seen without looking at other files.
    pub(super) fn check(&self) -> Vec<Finding> {
        let mut f = Findings::default();
        let id = &self.gateway.id;
        if id.is_empty() || id.len() > 64 || !id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')) {
            // It becomes part of FHIR ids.
            f.add("WL-C003", "gateway.id", "a gateway's id has 1 to 64 of A-Z a-z 0-9 - .", "Give it another id.");
        }
        f.zone("gateway.time_zone", &self.gateway.time_zone);
        f.range("journal.commit_linger_ms", self.journal.commit_linger_ms, 0, 1_000);
        f.range("journal.keep_settled_days", self.journal.keep_settled_days, 1, 3_650);
        f.range("journal.budget_mib", self.journal.budget_mib, 16, 1 << 20);
        f.range("journal.reserve_mib", self.journal.reserve_mib, 1, 1 << 20);
        f.range("alerts.old_after_min", self.alerts.old_after_min, 1, 1_440);
        self.check_ports(&mut f);
        f.unique("source", self.sources.iter().map(SourceSettings::name));
        f.unique("destination", self.destinations.iter().map(DestinationSettings::name));
        for source in &self.sources {
            match source {
                SourceSettings::Mqtt(mqtt) => check_mqtt(&mut f, mqtt),
                SourceSettings::Bluetooth(bluetooth) => check_bluetooth(&mut f, bluetooth),
            }
        }
        // Two scans would take the devices from each other.
        if self.sources.iter().filter(|s| matches!(s, SourceSettings::Bluetooth(_))).count() > 1 {
            f.add("WL-C004", "source", "there is more than one Bluetooth source", "Keep one of them.");
        }
        for destination in &self.destinations {
            check_destination(&mut f, destination);
        }
        self.check_people(&mut f);
        f.0.extend(self.check_consent());
        f.0.extend(self.check_match_fields());
        f.0
    }

    fn check_ports(&self, f: &mut Findings) {
        f.socket("control.socket", &self.control.socket);
        f.socket("control.status_socket", &self.control.status_socket);
        if self.control.socket == self.control.status_socket {
            let reason = "commands and health need a socket each";
            f.add("WL-C004", "control.status_socket", reason, "Choose another path.");
        }
        if let Some(at) = self.control.status_tcp {
            f.loopback("control.status_tcp", at);
        }
        if let Some(page) = &self.page {
            f.loopback("page.listen", page.listen);
        }
        if let Some(heartbeat) = &self.heartbeat {
            f.url("heartbeat.url", &heartbeat.url, ["https", "http"]);
            f.range("heartbeat.every_s", heartbeat.every_s, 1, 86_400);
        }
        f.levels(&self.log);
    }

    fn check_people(&self, f: &mut Findings) {
        f.unique("patient", self.patients.iter().map(|p| p.reference.reveal()));
        f.unique("device", self.devices.iter().map(|d| &*d.id.0));
        for (n, patient) in self.patients.iter().enumerate() {
            // By number: a reference is the patient's.
            let key = format!("patient number {}", n + 1);
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
            let id = patient.reference.reveal().strip_prefix("Patient/");
            if !id.is_some_and(|id| !id.is_empty() && id.len() <= 64 && id.chars().all(fits)) {
                let reason = "a reference is `Patient/` and the id at the centre: 1 to 64 of A-Z a-z 0-9 - .";
                f.add("WL-C003", key, reason, "Copy the reference from the centre.");
            }
        }
        let known: BTreeSet<_> = self.patients.iter().map(|p| &p.reference).collect();
        for device in &self.devices {
            let key = format!("device {}", device.id);
            f.0.extend(check_device(device));
            if device.patient.iter().chain(device.slots.values()).any(|p| !known.contains(p)) {
                let reason = "its patient is not in this file";
                f.add("WL-C012", key, reason, "Add a [[patient]] with this reference, or correct it.");
            }
        }
    }

    /// What the named files must be.
    pub(super) fn check_files(&self) -> Vec<Finding> {
        let mut f = Findings::default();
        for rules in &self.alerts.rules {
            f.file("alerts.rules".into(), rules);
        }
        if let Some(folder) = &self.gateway.profiles
            && let Err(e) = std::fs::read_dir(folder)
        {
            let reason = format!("{} cannot be read: {e}", folder.display());
            f.add("WL-C007", "gateway.profiles", reason, "Create the folder, or let the gateway's user read it.");
        }
        match (&self.journal.key_file, self.journal.unencrypted) {
            (Some(file), false) => f.secret("journal.key_file".into(), file),
            (None, true) => {}
            (key, _) => {
                let said = if key.is_some() { "a key, and `unencrypted` as well" } else { "no key for the journal" };
                f.add(
                    "WL-C015",
                    "journal.key_file",
                    said,
                    "Name the key's file, or say `unencrypted = true`; not both.",
                );
            }
        }
        for source in &self.sources {
            let SourceSettings::Mqtt(m) = source else { continue };
            let key = |field: &str| format!("source {}, {field}", m.name);
            f.tls(key, &m.tls());
            m.password_file.iter().for_each(|file| f.secret(key("password_file"), file));
        }
        self.destinations.iter().for_each(|d| check_destination_files(&mut f, d));
        if let Some(file) = self.heartbeat.as_ref().and_then(|h| h.ca_file.as_ref()) {
            f.file("heartbeat.ca_file".into(), file);
        }
        f.0
    }
}

/// What is wrong with an address, and what to do. `secure` and `plain` are the schemes with and without TLS; without it
/// nobody but this machine is spoken to.
pub fn url_trouble(url: &str, [secure, plain]: [&str; 2]) -> Option<(String, &'static str)> {
    let Ok(url) = reqwest::Url::parse(url) else {
        return Some(("this is not a URL".into(), "Write scheme, host and port in full."));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Some(("user and password stand in the URL".into(), "Move them to `user` and a file of their own."));
    }
    let host = url.host_str().unwrap_or_default();
    let here = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if host.is_empty() || (url.scheme() != secure && url.scheme() != plain) {
        let reason = format!("the scheme is `{secure}` (or `{plain}` on this machine), and a host follows");
        return Some((reason, "Write scheme, host and port in full."));
    }
    (url.scheme() == plain && !here).then(|| {
        let reason = format!("`{plain}` would send patient data in clear over the network");
        (reason, "Use TLS; `ca_file` names a root of your own.")
    })
}

/// What SMART's settings must hold.
fn check_smart(f: &mut Findings, key: impl Fn(&str) -> String, fhir: &FhirSettings, smart: &SmartSettings) {
    if fhir.token_file.is_some() {
        f.add("WL-C013", key("token_file"), "`auth` gets a token, and a file holds another", "Keep one of the two.");
    }
    let text = |text: &str| !text.is_empty() && text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic());
    if !text(&smart.client_id) {
        let reason = "a client id is 1 to 256 visible characters";
        f.add("WL-C013", key("auth.client_id"), reason, "Copy it from the centre's registration.");
    }
    if smart.scopes.is_empty() || smart.scopes.len() > 64 || !smart.scopes.iter().all(|s| text(s)) {
        let reason = "scopes are a list of 1 to 64, each without spaces";
        f.add("WL-C013", key("auth.scopes"), reason, "Write [\"system/Observation.cu\"], or what the centre allows.");
    }
    for (name, url) in [("auth.token_url", &smart.token_url), ("auth.jku", &smart.jku)] {
        url.iter().for_each(|url| f.url(&key(name), url, ["https", "http"]));
    }
    f.range(&key("auth.new_key_after_min"), smart.new_key_after_min, 0, 60 * 24 * 30);
}

/// `info`, or `info,journal=debug` by module.
fn levels_are_valid(levels: &str) -> bool {
    levels.split(',').all(|part| {
        let level = part.trim().split_once('=').map_or(part.trim(), |(_, level)| level);
        level.parse::<tracing::level_filters::LevelFilter>().is_ok()
    })
}

fn check_mqtt(f: &mut Findings, mqtt: &MqttSettings) {
    let key = |field: &str| format!("source {}, {field}", mqtt.name);
    f.name("source.name", &mqtt.name);
    f.url(&key("url"), &mqtt.url, ["mqtts", "mqtt"]);
    f.range(&key("in_flight"), mqtt.in_flight, 1, limits::MQTT_IN_FLIGHT_MAX);
    f.range(&key("session_hours"), mqtt.session_hours, 1, 24 * 365);
    if mqtt.password_file.is_some() && mqtt.user.is_none() {
        f.add("WL-C013", key("password_file"), "a password without a user", "Add `user`.");
    }
    f.both(key, &mqtt.client_certificate_file, &mqtt.client_key_file);
    if mqtt.url.starts_with("mqtt:") && mqtt.tls().any() {
        f.add("WL-C013", key("url"), "certificates are given, but `mqtt` does not use them", "Write `mqtts`.");
    }
    for topic in &mqtt.topics {
        let whole = topic.split('/').enumerate().all(|(n, level)| {
            let last = n + 1 == topic.split('/').count();
            !level.contains(['+', '#']) || level == "+" || (level == "#" && last)
        });
        if topic.is_empty() || topic.len() > 512 || topic.contains('\0') || !whole {
            f.add(
                "WL-C013",
                key("topics"),
                "this is not a topic filter",
                "`+` and `#` stand alone in a level, `#` last.",
            );
        }
    }
}

fn check_bluetooth(f: &mut Findings, bluetooth: &BluetoothSettings) {
    let key = |field: &str| format!("source {}, {field}", bluetooth.name);
    f.name("source.name", &bluetooth.name);
    f.range(&key("max_connected"), bluetooth.max_connected, 1, limits::BLE_CONNECTED_MAX);
    f.range(&key("stream_period_s"), bluetooth.stream_period_s, 0, 3_600);
    f.range(&key("silence_alert_min"), bluetooth.silence_alert_min, 0, 1_440);
    let fits = |name: &str| name.strip_prefix("hci").is_some_and(|n| n.parse::<u8>().is_ok());
    if bluetooth.adapter.as_deref().is_some_and(|name| !fits(name)) {
        f.add(
            "WL-C013",
            key("adapter"),
            "an adapter is called hci0, hci1, …",
            "See `bluetoothctl list`, or leave it out.",
        );
    }
}

/// `C0:26:DF:00:11:22`.
fn is_address(text: &str) -> bool {
    let pair = |p: &str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(pair)
}

/// The files that a destination names.
pub(super) fn check_destination_files(f: &mut Findings, destination: &DestinationSettings) {
    let key = |field: &str| format!("destination {}, {field}", destination.name());
    match destination {
        DestinationSettings::Fhir(d) => {
            f.tls(key, &d.tls());
            d.token_file.iter().for_each(|file| f.secret(key("token_file"), file));
            if let Some(AuthSettings::Smart(smart)) = &d.auth {
                f.secret(key("auth.key_file"), &smart.key_file);
            }
            d.mapping_file.iter().for_each(|file| f.file(key("mapping_file"), file));
        }
        DestinationSettings::Webhook(w) => {
            f.tls(key, &w.tls());
            f.secret(key("secret_file"), &w.secret_file);
        }
        DestinationSettings::Hl7(h) => f.tls(key, &h.tls()),
        DestinationSettings::Nats(n) => {
            f.tls(key, &n.tls());
            n.credentials_file.iter().for_each(|file| f.secret(key("credentials_file"), file));
        }
        DestinationSettings::Ndjson(_) => {}
    }
}

fn check_nats(f: &mut Findings, nats: &NatsSettings) {
    let key = |field: &str| format!("destination {}, {field}", nats.name);
    f.range(&key("servers"), nats.servers.len(), 1, limits::NATS_SERVERS_MAX);
    nats.servers.iter().for_each(|server| f.url(&key("servers"), server, ["tls", "nats"]));
    f.word(&key("stream"), &nats.stream);
    f.word(&key("subject_prefix"), &nats.subject_prefix);
    f.range(&key("timeout_s"), nats.timeout_s, 1, 300);
    f.both(key, &nats.client_certificate_file, &nats.client_key_file);
    if nats.user.is_some() && nats.credentials_file.is_none() {
        f.add("WL-C013", key("credentials_file"), "a user needs a password", "Give the file that holds it.");
    }
}

pub(super) fn check_destination(f: &mut Findings, destination: &DestinationSettings) {
    let key = |field: &str| format!("destination {}, {field}", destination.name());
    f.name("destination.name", destination.name());
    match destination {
        DestinationSettings::Fhir(fhir) => {
            f.url(&key("url"), &fhir.url, ["https", "http"]);
            f.range(&key("bundle_max"), fhir.bundle_max, 1, limits::COMMIT_GROUP_MAX);
            f.range(&key("requests_per_min"), fhir.requests_per_min, 0, 60_000);
            f.range(&key("linger_ms"), fhir.linger_ms, 0, 10_000);
            f.range(&key("timeout_s"), fhir.timeout_s, 1, 300);
            if let Some(care) = &fhir.care_plan {
                f.range(&key("care_plan.every_min"), care.every_min, 1, 1_440);
                if care.consents.is_none() && !care.consent_codes.is_empty() {
                    let reason = "no Consent of this server is asked for";
                    f.add("WL-C013", key("care_plan.consent_codes"), reason, "Add `consents`, or leave it out.");
                }
            }
            if let Some(follow) = &fhir.follow_tasks {
                f.range(&key("follow_tasks.every_s"), follow.every_s, 1, 3_600);
            }
            f.both(key, &fhir.client_certificate_file, &fhir.client_key_file);
            if let Some(AuthSettings::Smart(smart)) = &fhir.auth {
                check_smart(f, key, fhir, smart);
            }
            check_claims(f, key, fhir);
            check_follow(f, key, fhir);
        }
        DestinationSettings::Hl7(hl7) => check_hl7(f, hl7),
        DestinationSettings::Nats(nats) => check_nats(f, nats),
        DestinationSettings::Ndjson(ndjson) => {
            f.range(&key("rotate_mib"), ndjson.rotate_mib, 1, 1_024);
            f.range(&key("rotate_min"), ndjson.rotate_min, 1, 10_080);
        }
        DestinationSettings::Webhook(webhook) => {
            f.url(&key("url"), &webhook.url, ["https", "http"]);
            f.range(&key("timeout_s"), webhook.timeout_s, 1, 300);
        }
    }
}

fn check_claims(f: &mut Findings, key: impl Fn(&str) -> String, fhir: &FhirSettings) {
    if let Some(name) = fhir.profile.as_deref().filter(|name| !preset::NAMES.contains(name)) {
        let reason = format!("there is no destination profile `{name}`");
        f.add("WL-C013", key("profile"), reason, "docs/destinations.md lists them.");
    }
    if fhir.phd && fhir.devices == DeviceForm::Reference {
        let reason = "the device guide asks for Devices that can be found";
        f.add("WL-C013", key("phd"), reason, "Add `devices = \"contained\"` or `devices = \"resource\"`.");
    }
    if fhir.bundle == BundleKind::Collection && fhir.devices == DeviceForm::Resource {
        let reason = "a receiver of collections takes no resource of its own";
        f.add("WL-C013", key("devices"), reason, "Use `devices = \"contained\"`.");
    }
    let names_devices = Fields::from(fhir.fields.as_deref()).has(Field::Device);
    let metrics = match fhir.devices {
        _ if !fhir.device_metrics => None,
        DeviceForm::Reference | DeviceForm::Contained => Some("a DeviceMetric points to a Device at the server"),
        DeviceForm::Resource => (!names_devices).then_some("it tells of devices, which are not among its `fields`"),
    };
    if let Some(reason) = metrics {
        let remedy = "Add `devices = \"resource\"` and the field `device`, or remove `device_metrics`.";
        f.add("WL-C013", key("device_metrics"), reason, remedy);
    }
    let references = match (fhir.bundle, fhir.devices) {
        _ if fhir.references == References::Logical => None,
        (BundleKind::Collection, _) => Some("a receiver of collections looks for nothing"),
        (_, DeviceForm::Contained) => Some("the devices are within each Observation: nothing is to be found"),
        _ => (!names_devices).then_some("devices are not among its `fields`: nothing can be looked for"),
    };
    if let Some(reason) = references {
        f.add("WL-C013", key("references"), reason, "Remove `references`.");
    }
}

fn check_follow(f: &mut Findings, key: impl Fn(&str) -> String, fhir: &FhirSettings) {
    if fhir.bundle == BundleKind::Collection && fhir.follow_tasks.is_some() {
        let reason = "alerts do not go to a receiver of collections: it has no Tasks";
        f.add("WL-C013", key("follow_tasks"), reason, "Remove `follow_tasks`.");
    }
    if fhir.bundle == BundleKind::Collection && fhir.audit {
        let reason = "a receiver of collections takes no AuditEvent of its own";
        f.add("WL-C013", key("audit"), reason, "Remove `audit`.");
    }
}

fn check_hl7(f: &mut Findings, hl7: &Hl7Settings) {
    let key = |field: &str| format!("destination {}, {field}", hl7.name);
    f.url(&key("url"), &hl7.url, ["mllps", "mllp"]);
    f.range(&key("timeout_s"), hl7.timeout_s, 1, 300);
    f.range(&key("readings_per_message"), hl7.readings_per_message, 1, limits::HL7_READINGS_PER_MESSAGE_MAX);
    f.range(&key("batch"), hl7.batch, 1, HL7_BATCH_MAX);
    f.both(key, &hl7.client_certificate_file, &hl7.client_key_file);
    if hl7.url.starts_with("mllp:") && hl7.tls().any() {
        f.add("WL-C013", key("url"), "certificates are given, but `mllp` does not use them", "Write `mllps`.");
    }
    let printable = |text: &str| text.chars().count() <= limits::TEXT_CHARS_MAX && !text.chars().any(char::is_control);
    if hl7.assigning_authority.trim_matches(['^', ' ']).is_empty() || !printable(&hl7.assigning_authority) {
        let reason = "nobody is named who gave the patients' references";
        f.add("WL-C013", key("assigning_authority"), reason, "Ask the receiver's owner what PID-3.4 must be.");
    }
    if hl7.eui64.as_ref().is_some_and(|e| e.len() != 16 || !e.bytes().all(|b| b.is_ascii_hexdigit())) {
        f.add("WL-C013", key("eui64"), "an EUI-64 has 16 hexadecimal digits", "Correct it, or leave it out.");
    }
    if !matches!(&*hl7.processing_id, "P" | "T" | "D") {
        f.add("WL-C013", key("processing_id"), "it is P, T or D", "P is production.");
    }
    let matched = Fields::from(hl7.fields.as_deref()).has(Field::PatientIdentifier);
    let authority = hl7.match_authority.as_deref().map(|a| a.trim_matches(['^', ' ']));
    match authority {
        None if matched => {
            let reason = "nobody is named who gave the identifier that patients are matched by";
            f.add("WL-C013", key("match_authority"), reason, "Ask the receiver's owner what PID-3.4 must be.");
        }
        Some(_) if !matched => {
            let reason = "`fields` does not have `patient-identifier`";
            f.add("WL-C013", key("match_authority"), reason, "Name the field, or leave the authority out.");
        }
        Some(name)
            if name.is_empty() || !printable(name) || name == hl7.assigning_authority.trim_matches(['^', ' ']) =>
        {
            // Two identifiers of one authority would be two people.
            let reason = "it needs a name of its own, beside `assigning_authority`";
            f.add("WL-C013", key("match_authority"), reason, "Ask the receiver's owner what PID-3.4 must be.");
        }
        _ => {}
    }
    let texts = [
        ("identifier_type", &hl7.identifier_type),
        ("match_identifier_type", &hl7.match_identifier_type),
        ("receiving_application", &hl7.receiving_application),
        ("receiving_facility", &hl7.receiving_facility),
        ("sending_facility", &hl7.sending_facility),
        ("message_profile", &hl7.message_profile),
        ("alert_profile", &hl7.alert_profile),
    ];
    for (field, text) in texts.into_iter().chain(hl7.alert_facets.iter().map(|f| ("alert_facets", f))) {
        if !printable(text) {
            f.add(
                "WL-C010",
                key(field),
                "it is too long, or holds control characters",
                "Write at most 128 characters.",
            );
        }
    }
}

/// What a device's settings must hold, in the configuration and when it is added at run time.
pub fn check_device(device: &DeviceSettings) -> Vec<Finding> {
    let mut f = Findings::default();
    let key = format!("device {}", device.id);
    let id = &*device.id.0;
    let formed = id.split_once(':').is_some_and(|(link, address)| {
        !link.is_empty() && link.chars().all(|c| c.is_ascii_lowercase()) && !address.is_empty()
    });
    if !formed || id.len() > limits::TEXT_CHARS_MAX || id.chars().any(|c| c.is_control() || c.is_whitespace()) {
        f.add(
            "WL-C003",
            "device.id",
            "a device's id is its link and its address, as in mqtt:cuff-17",
            "Correct the id.",
        );
    }
    if id.strip_prefix("ble:").is_some_and(|address| !is_address(address) || address != address.to_ascii_uppercase()) {
        let reason = "a Bluetooth device is its address in capitals, as in ble:C0:26:DF:00:11:22";
        f.add("WL-C003", key.clone(), reason, "Copy the id from `wardline devices scan`.");
    }
    if device.slots.keys().any(|slot| slot.parse::<u8>().is_err()) {
        f.add("WL-C013", key.clone(), "a user slot is a number from 0 to 255", "Correct `slots`.");
    }
    if device.patient.is_some() && !device.slots.is_empty() {
        let reason = "`patient` says one holder, `slots` says several";
        f.add("WL-C013", key.clone(), reason, "Keep one of the two.");
    }
    if let Some(zone) = &device.time_zone {
        f.zone(&key, zone);
    }
    f.0
}
