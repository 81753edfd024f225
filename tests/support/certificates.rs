//! Throw-away certificates: a CA, a server for 127.0.0.1 and localhost, a client, and a CA that signed neither.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Writes `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key` and `other-ca.pem` into a folder.
pub fn write(folder: &Path) {
    let ca = authority("Test CA");
    put(folder, "ca.pem", &ca.pem());
    put(folder, "other-ca.pem", &authority("Other CA").pem());
    let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
    issue(folder, &ca, "server", CertificateParams::new(names).unwrap());
    issue(folder, &ca, "client", CertificateParams::new(vec![]).unwrap());
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(folder: &Path, ca: &Authority, name: &str, mut params: CertificateParams) {
    let key = KeyPair::generate().unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, ca).unwrap();
    put(folder, &format!("{name}.pem"), &certificate.pem());
    put(folder, &format!("{name}.key"), &key.serialize_pem());
}

/// Writes a file that only its owner can read.
pub fn put(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}
