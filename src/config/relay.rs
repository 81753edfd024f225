//! Settings of `wardline relay`: from which stream to which server.
//!
//! A file of its own: a relay runs at the centre, not in the box. Must never: hold a secret.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::check::{Findings, check_destination, check_destination_files};
use super::load::{load, parse};
use super::{ConfigError, DestinationSettings, FhirSettings, Finding, LogSettings, NatsSettings};
use crate::limits;
use crate::minimum::Fields;

/// One configuration file of a relay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// The relay itself.
    pub relay: RelaySettings,
    /// The stream that it drains.
    pub bus: NatsSettings,
    /// Where it brings what it finds.
    pub destination: FhirSettings,
    /// Logs.
    #[serde(default)]
    pub log: LogSettings,
}

/// The relay itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelaySettings {
    /// Its name at the bus: its own, no other relay's.
    pub name: String,
    /// First word of its consumers' names. Relays with the same one share the work; each destination has its own.
    pub durable: String,
    /// The stream that keeps what the destination refuses for good.
    pub rejected_stream: String,
    /// How long a consumer waits for a sign of life about a message, seconds.
    #[serde(default = "ack_wait")]
    pub ack_wait_s: u64,
    /// Health and metrics, read-only.
    #[serde(default = "status_socket")]
    pub status_socket: PathBuf,
}

fn ack_wait() -> u64 {
    120
}
fn status_socket() -> PathBuf {
    "/run/wardline/relay.sock".into()
}

impl RelayConfig {
    /// Reads a file, and looks at the files that it names.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        load(file, Self::parse, Self::check_files)
    }

    /// Parses a text; relative paths are taken from the folder of `file`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        parse(text, file, Self::resolve, Self::check)
    }

    fn resolve(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&*path);
        join(&mut self.relay.status_socket);
        self.bus.resolve(&join);
        self.destination.resolve(&join);
    }

    fn check_files(&self) -> Vec<Finding> {
        let mut f = Findings::default();
        self.destinations().iter().for_each(|d| check_destination_files(&mut f, d));
        f.0
    }

    /// Both ends, as a gateway would have them.
    fn destinations(&self) -> [DestinationSettings; 2] {
        [DestinationSettings::Nats(self.bus.clone()), DestinationSettings::Fhir(self.destination.clone())]
    }

    fn check(&self) -> Vec<Finding> {
        let mut f = Findings::default();
        f.word("relay.name", &self.relay.name);
        f.word("relay.durable", &self.relay.durable);
        f.word("relay.rejected_stream", &self.relay.rejected_stream);
        f.socket("relay.status_socket", &self.relay.status_socket);
        f.levels(&self.log);
        // A request must be over before its message may go to another relay.
        let least = limits::RELAY_HOLD_MIN.as_secs().max(2 * self.destination.timeout_s);
        f.range("relay.ack_wait_s", self.relay.ack_wait_s, least, 3_600);
        if self.relay.rejected_stream == self.bus.stream {
            let reason = "what is refused would come back";
            f.add("WL-C004", "relay.rejected_stream", reason, "Give it a stream of its own.");
        }
        for d in self.destinations() {
            check_destination(&mut f, &d);
            if matches!(&d, DestinationSettings::Fhir(fhir) if fhir.audit) {
                let reason = "what people do is known to the box: a relay knows nothing of it";
                f.add("WL-C013", format!("{}, audit", d.name()), reason, "Say it in the configuration of the boxes.");
            }
            if d.consent().is_some() || d.fields() != Fields::default() {
                let reason = "consents are on the box: a relay passes on what a box let go";
                f.add("WL-C013", format!("{}, consent", d.name()), reason, "Say it in the configuration of the boxes.");
            }
        }
        f.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[relay]\nname = \"r1\"\ndurable = \"centre\"\nrejected_stream = \"REFUSED\"\n\
        [bus]\nname = \"bus\"\nservers = [\"tls://bus.example\"]\nstream = \"WARDLINE\"\ncredentials_file = \"c\"\n\
        [destination]\nname = \"centre\"\nurl = \"https://x.example/fhir\"\nidempotency = \"conditional-create\"\n";

    fn findings(from: &str, to: &str) -> Vec<String> {
        match RelayConfig::parse(&GOOD.replacen(from, to, 1), Path::new("/etc/relay.toml")) {
            Err(ConfigError::Invalid { findings, .. }) => {
                findings.iter().map(|f| format!("{} {}", f.code, f.key)).collect()
            }
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn a_good_one_is_taken_and_its_paths_begin_at_its_folder() {
        let config = RelayConfig::parse(GOOD, Path::new("/etc/relay.toml")).unwrap();
        assert_eq!(config.bus.credentials_file.unwrap(), Path::new("/etc/c"));
        let with = |key: &str| {
            let text = format!("{GOOD}client_key_file = \"k\"\nclient_certificate_file = \"c\"\n{key} = \"f\"\n");
            RelayConfig::parse(&text, Path::new("/etc/relay.toml")).unwrap().destination
        };
        let files = with("ca_file").tls();
        assert_eq!(files.authorities.unwrap(), Path::new("/etc/f"));
        assert_eq!(files.identity.unwrap(), ("/etc/c".into(), "/etc/k".into()));
        assert_eq!(with("crl_file").tls().revoked.unwrap(), Path::new("/etc/f"));
        assert_eq!((config.relay.ack_wait_s, config.bus.subject_prefix.as_str()), (120, "wardline"));
    }

    #[test]
    fn the_example_is_valid_and_every_key_is_documented() {
        let example = include_str!("../../config/relay/relay.toml");
        assert!(RelayConfig::parse(example, Path::new("relay.toml")).is_ok());
        let page = include_str!("../../docs/nats.md");
        for key in ["name", "durable", "rejected_stream", "ack_wait_s", "status_socket"] {
            assert!(page.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, expected) in [
            ("\"r1\"", "\"r 1\"", "WL-C003 relay.name"),
            ("\"REFUSED\"", "\"WARDLINE\"", "WL-C004 relay.rejected_stream"),
            ("tls://bus.example", "nats://bus.example", "WL-C005 destination bus, servers"),
            ("[relay]", "[relay]\nack_wait_s = 30", "WL-C010 relay.ack_wait_s"),
            ("[\"tls://bus.example\"]", "[]", "WL-C010 destination bus, servers"),
            ("[bus]", "[log]\nlevel = \"loud\"\n[bus]", "WL-C011 log.level"),
            ("[destination]", "[destination]\naudit = true", "WL-C013 centre, audit"),
            ("[bus]", "[bus]\nhurry = 1", "WL-C002 line 6, bus.hurry"),
        ] {
            assert!(findings(from, to).iter().any(|f| f.starts_with(expected)), "{expected}: {:?}", findings(from, to));
        }
    }
}
