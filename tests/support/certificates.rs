//! Throw-away certificates: a CA, a server for 127.0.0.1 and localhost, a client, and a CA that signed neither; and
//! servers' certificates with whatever is wrong with them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Valid whatever the machine's clock says.
pub const ALWAYS: (i32, i32) = (2020, 2099);

/// Writes `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key` and `other-ca.pem` into a folder.
pub fn write(folder: &Path) {
    let ca = authority("Test CA");
    put(folder, "ca.pem", &ca.pem());
    put(folder, "other-ca.pem", &authority("Other CA").pem());
    Identity::new(Some(&ca), &["localhost", "127.0.0.1"], ALWAYS).put(folder, "server");
    Identity::new(Some(&ca), &[], ALWAYS).put(folder, "client");
}

pub type Authority = CertifiedIssuer<'static, KeyPair>;

pub fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key.
pub struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Identity {
    /// For these names, valid from and to the first days of these years; without an authority it signs itself.
    pub fn new(ca: Option<&Authority>, names: &[&str], years: (i32, i32)) -> Self {
        Self::until(ca, names, rcgen::date_time_ymd(years.0, 1, 1).unix_timestamp(), {
            rcgen::date_time_ymd(years.1, 1, 1).unix_timestamp()
        })
    }

    /// The same, to the second.
    pub fn until(ca: Option<&Authority>, names: &[&str], from: i64, to: i64) -> Self {
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).into()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("client"));
        let second = |s: i64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(s.try_into().unwrap());
        (params.not_before, params.not_after) = (second(from), second(to));
        let key = KeyPair::generate().unwrap();
        let certificate = match ca {
            Some(ca) => params.signed_by(&key, ca).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Self { certificate, key }
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub fn put(&self, folder: &Path, name: &str) {
        put(folder, &format!("{name}.pem"), &self.certificate.pem());
        put(folder, &format!("{name}.key"), &self.key.serialize_pem());
    }

    /// A TLS server with it.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.der().clone()], key.into())
            .unwrap();
        Arc::new(config)
    }
}

/// Writes a file that only its owner can read.
pub fn put(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}
