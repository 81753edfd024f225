//! Throw-away certificates: a CA, a server for 127.0.0.1 and localhost, a client, and a CA that signed neither; and
//! servers' certificates with whatever is wrong with them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};

/// Serial numbers are given once.
static SERIAL: AtomicU64 = AtomicU64::new(1_000);

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

/// A list, in PEM, of what an authority takes back.
pub fn revoked(ca: &Authority, which: &[&Identity]) -> String {
    let entry = |identity: &&Identity| RevokedCertParams {
        serial_number: identity.serial.clone(),
        revocation_time: rcgen::date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2024, 1, 1),
        next_update: rcgen::date_time_ymd(2099, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: which.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(ca).unwrap().pem().unwrap()
}

/// A certificate and its key.
pub struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
    serial: SerialNumber,
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
        let serial = SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed));
        params.serial_number = Some(serial.clone());
        let certificate = match ca {
            Some(ca) => params.signed_by(&key, ca).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Self { certificate, key, serial }
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub fn put(&self, folder: &Path, name: &str) {
        put(folder, &format!("{name}.pem"), &self.certificate.pem());
        put(folder, &format!("{name}.key"), &self.key.serialize_pem());
    }

    /// A TLS server with it.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        self.serve(rustls::server::WebPkiClientVerifier::no_client_auth())
    }

    /// A TLS server with it that lets in only those whom this authority signed.
    pub fn server_for(&self, ca: &Authority) -> Arc<rustls::ServerConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        self.serve(clients.build().unwrap())
    }

    fn serve(&self, clients: Arc<dyn rustls::server::danger::ClientCertVerifier>) -> Arc<rustls::ServerConfig> {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
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
