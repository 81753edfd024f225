//! The keys of SMART Backend Services: making, signing, public halves. The one file with this crypto (decision 0053).
//!
//! Promises: ES384 by P-384 and RS384 by RSA with 3,072 bits; a key's id is its RFC 7638 thumbprint, so that it needs no
//! place of its own. Must never: show a private half other than as the PEM text that becomes a file.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA384, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Bits of the RSA keys that we make.
const RSA_BITS: u32 = 3_072;

/// How assertions are signed; it follows from the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alg {
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// RSA, PKCS#1 v1.5, with SHA-384.
    Rs384,
}

impl Alg {
    /// As JOSE calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es384 => "ES384",
            Self::Rs384 => "RS384",
        }
    }
}

/// Why there is no key, or no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Make one with `wardline key smart new`.
    #[error("holds no private key in PKCS#8 PEM form")]
    Form,
    /// Make one with `wardline key smart new`.
    #[error("its key is neither P-384 nor RSA of 2048 bits and more")]
    Kind,
    /// The machine has no random numbers, or no memory.
    #[error("the machine's libraries cannot do it")]
    Library,
}

enum Pair {
    Ec(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// A key pair. Shows its id only.
pub struct Key {
    pair: Pair,
    kid: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Key {
    /// A new one, as PEM text.
    pub fn make(alg: Alg) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let made = || -> Result<Vec<u8>, ErrorStack> {
            match alg {
                Alg::Es384 => {
                    let group = EcGroup::from_curve_name(Nid::SECP384R1)?;
                    PKey::from_ec_key(EcKey::generate(&group)?)?.private_key_to_pem_pkcs8()
                }
                Alg::Rs384 => PKey::from_rsa(Rsa::generate(RSA_BITS)?)?.private_key_to_pem_pkcs8(),
            }
        };
        made().map(Zeroizing::new).map_err(|_| KeyError::Library)
    }

    /// From PEM text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let Ok(PrivateKeyDer::Pkcs8(der)) = PrivateKeyDer::from_pem_slice(pem) else { return Err(KeyError::Form) };
        let der = der.secret_pkcs8_der();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der, &SystemRandom::new());
        let pair = match ec {
            Ok(ec) => Pair::Ec(Box::new(ec)),
            Err(_) => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).map_err(|_| KeyError::Kind)?)),
        };
        let mut key = Self { pair, kid: String::new() };
        key.kid = encoded(digest(&SHA256, key.members().to_string().as_bytes()).as_ref());
        Ok(key)
    }

    /// What it signs with.
    pub fn alg(&self) -> Alg {
        match self.pair {
            Pair::Ec(_) => Alg::Es384,
            Pair::Rsa(_) => Alg::Rs384,
        }
    }

    /// Its id: the thumbprint of its public half.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs.
    pub fn sign(&self, what: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(ec) => ec.sign(&random, what).map(|s| s.as_ref().to_vec()).map_err(|_| KeyError::Library),
            Pair::Rsa(rsa) => {
                let mut signature = vec![0; rsa.public().modulus_len()];
                rsa.sign(&RSA_PKCS1_SHA384, &random, what, &mut signature).map_err(|_| KeyError::Library)?;
                Ok(signature)
            }
        }
    }

    /// The public half, for the centre.
    pub fn jwk(&self) -> Value {
        let mut jwk = self.members();
        if let Value::Object(members) = &mut jwk {
            for (name, value) in [("use", "sig"), ("alg", self.alg().name()), ("kid", &self.kid)] {
                members.insert(name.into(), json!(value));
            }
        }
        jwk
    }

    /// The members that a thumbprint is made of. `serde_json` writes them in the order of their names, as it wants them.
    fn members(&self) -> Value {
        match &self.pair {
            Pair::Ec(ec) => {
                // 4, then both coordinates.
                let point = ec.public_key().as_ref();
                let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(48).unwrap_or_default();
                json!({ "crv": "P-384", "kty": "EC", "x": encoded(x), "y": encoded(y) })
            }
            Pair::Rsa(rsa) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(rsa.public());
                json!({ "e": encoded(&public.e), "kty": "RSA", "n": encoded(&public.n) })
            }
        }
    }
}

/// base64url without padding.
pub fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An id that no other assertion has.
pub fn nonce() -> Result<String, KeyError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Library)?;
    Ok(encoded(&bytes))
}

#[cfg(test)]
mod tests {
    use openssl::bn::BigNum;
    use openssl::ecdsa::EcdsaSig;
    use openssl::hash::MessageDigest;
    use openssl::sign::Verifier;

    use super::*;

    fn number(jwk: &Value, name: &str) -> BigNum {
        BigNum::from_slice(&URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()).unwrap()
    }

    /// By another library, with what the centre gets.
    fn verified(jwk: &Value, what: &[u8], signature: &[u8]) -> bool {
        match jwk["kty"].as_str().unwrap() {
            "EC" => {
                let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
                let (x, y) = (number(jwk, "x"), number(jwk, "y"));
                let key = EcKey::from_public_key_affine_coordinates(&group, &x, &y).unwrap();
                let (r, s) = signature.split_at(48);
                let parts = [r, s].map(|half| BigNum::from_slice(half).unwrap());
                let [r, s] = parts;
                let hash = openssl::hash::hash(MessageDigest::sha384(), what).unwrap();
                EcdsaSig::from_private_components(r, s).unwrap().verify(&hash, &key).unwrap()
            }
            _ => {
                let key = Rsa::from_public_components(number(jwk, "n"), number(jwk, "e")).unwrap();
                let key = PKey::from_rsa(key).unwrap();
                let mut verifier = Verifier::new(MessageDigest::sha384(), &key).unwrap();
                verifier.update(what).unwrap();
                verifier.verify(signature).unwrap()
            }
        }
    }

    #[test]
    fn what_is_signed_is_verified_with_the_public_half_and_nothing_else_is() {
        for alg in [Alg::Es384, Alg::Rs384] {
            let key = Key::from_pem(&Key::make(alg).unwrap()).unwrap();
            let other = Key::from_pem(&Key::make(alg).unwrap()).unwrap();
            assert_eq!((key.alg(), key.jwk()["alg"].as_str().unwrap()), (alg, alg.name()));
            let signature = key.sign(b"claims").unwrap();
            assert!(verified(&key.jwk(), b"claims", &signature), "{alg:?}");
            assert!(!verified(&key.jwk(), b"Claims", &signature), "{alg:?}");
            assert!(!verified(&other.jwk(), b"claims", &signature), "{alg:?}");
            assert_ne!(key.kid(), other.kid());
        }
    }

    #[test]
    fn a_public_half_holds_nothing_private() {
        for (alg, names) in [
            (Alg::Es384, vec!["alg", "crv", "kid", "kty", "use", "x", "y"]),
            (Alg::Rs384, vec!["alg", "e", "kid", "kty", "n", "use"]),
        ] {
            let key = Key::from_pem(&Key::make(alg).unwrap()).unwrap();
            let jwk = key.jwk();
            assert_eq!(jwk.as_object().unwrap().keys().collect::<Vec<_>>(), names);
            assert_eq!(format!("{key:?}"), format!("Key {{ kid: {:?}, .. }}", key.kid()));
        }
    }

    /// RFC 7638, section 3.1: the order of the members is what a thumbprint hangs on.
    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let members = json!({ "kty": "RSA", "n": n, "e": "AQAB" });
        let thumbprint = encoded(digest(&SHA256, members.to_string().as_bytes()).as_ref());
        assert_eq!(thumbprint, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn what_is_no_key_of_ours_is_refused() {
        assert_eq!(Key::from_pem(b"").err(), Some(KeyError::Form));
        assert_eq!(
            Key::from_pem(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----").err(),
            Some(KeyError::Kind)
        );
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let p256 = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap().private_key_to_pem_pkcs8().unwrap();
        assert_eq!(Key::from_pem(&p256).err(), Some(KeyError::Kind));
        let short = PKey::from_rsa(Rsa::generate(1_024).unwrap()).unwrap().private_key_to_pem_pkcs8().unwrap();
        assert_eq!(Key::from_pem(&short).err(), Some(KeyError::Kind));
    }
}
