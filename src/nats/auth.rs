//! Who we are at a NATS server: a credentials file of `nsc` (JWT and seed), an nkey seed, a token, or a password.
//!
//! Promises: seeds sign, they are never sent. Must never: show what a file holds.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::secret::{self, SecretError};

/// A credential.
pub enum Credential {
    /// The server asks for none.
    None,
    /// A word.
    Token(Zeroizing<String>),
    /// A word with a name.
    Password(String, Zeroizing<String>),
    /// A key pair, and what an account says about it.
    Key {
        /// Signs the server's nonce.
        pair: Ed25519KeyPair,
        /// `None`: the server knows the key itself.
        jwt: Option<Zeroizing<String>>,
    },
}

/// Why a file is no credential.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Correct the file's place or permissions.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Make it anew with `nsc`.
    #[error("{0}: is neither a credentials file, an nkey seed, nor a word")]
    Form(PathBuf),
}

/// What a CONNECT says about us.
#[derive(Default, Serialize)]
pub struct Presented {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
}

impl Credential {
    /// From a file; with `user`, it holds the password.
    ///
    /// # Errors
    /// When it cannot be read, others can read it, or it is none of these.
    pub fn read(user: Option<&str>, file: Option<&Path>) -> Result<Self, AuthError> {
        let Some(file) = file else { return Ok(Self::None) };
        let form = || AuthError::Form(file.into());
        let secret = secret::read(file)?;
        let text = std::str::from_utf8(secret.line()).map_err(|_| form())?;
        if let Some(user) = user {
            return Ok(Self::Password(user.into(), text.to_owned().into()));
        }
        let jwt = between(text, "-----BEGIN NATS USER JWT-----");
        let seed = between(text, "-----BEGIN USER NKEY SEED-----");
        match (jwt, seed) {
            (Some(jwt), Some(found)) => {
                Ok(Self::Key { pair: pair(found).ok_or_else(form)?, jwt: Some(jwt.to_owned().into()) })
            }
            (None, None) if text.starts_with("SU") && text.len() == 58 => {
                Ok(Self::Key { pair: pair(text).ok_or_else(form)?, jwt: None })
            }
            (None, None) if !text.contains(char::is_whitespace) => Ok(Self::Token(text.to_owned().into())),
            _ => Err(form()),
        }
    }

    /// What is shown to a server that sent this nonce.
    pub(super) fn present(&self, nonce: &str) -> Presented {
        match self {
            Self::None => Presented::default(),
            Self::Token(token) => Presented { auth_token: Some(token.to_string()), ..Presented::default() },
            Self::Password(user, word) => {
                Presented { user: Some(user.clone()), pass: Some(word.to_string()), ..Presented::default() }
            }
            Self::Key { pair, jwt } => Presented {
                nkey: jwt.is_none().then(|| public(pair)),
                jwt: jwt.as_ref().map(|j| j.to_string()),
                sig: Some(URL_SAFE_NO_PAD.encode(pair.sign(nonce.as_bytes()))),
                ..Presented::default()
            },
        }
    }
}

/// The line after a marker.
fn between<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(marker)?;
    after.lines().map(str::trim).find(|l| !l.is_empty())
}

/// A seed is base32 of: two prefixes in two octets, 32 octets, and their CRC.
fn pair(seed: &str) -> Option<Ed25519KeyPair> {
    let raw = Zeroizing::new(base32(seed)?);
    let (body, crc) = raw.split_at_checked(raw.len().checked_sub(2)?)?;
    let [first, second, key @ ..] = body else { return None };
    // `S`, and within it `U`.
    let (kind, of) = (first & 0xf8, (first & 0x07) << 5 | (second & 0xf8) >> 3);
    let whole = crc16(body).to_le_bytes() == crc && (kind, of) == (SEED, USER) && key.len() == 32;
    Ed25519KeyPair::from_seed_unchecked(key).ok().filter(|_| whole)
}

const SEED: u8 = 18 << 3;
const USER: u8 = 20 << 3;

/// `U…`: prefix, key and CRC, in base32.
fn public(pair: &Ed25519KeyPair) -> String {
    let mut raw = vec![USER];
    raw.extend_from_slice(pair.public_key().as_ref());
    raw.extend_from_slice(&crc16(&raw).to_le_bytes());
    base32_of(&raw)
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Without padding.
fn base32_of(bytes: &[u8]) -> String {
    let (mut out, mut held, mut bits) = (String::new(), 0_u32, 0);
    let mut letter = |value: u32| out.extend(BASE32.get(value as usize & 31).map(|l| char::from(*l)));
    for octet in bytes {
        (held, bits) = ((held << 8 | u32::from(*octet)) & 0xffff, bits + 8);
        while bits >= 5 {
            bits -= 5;
            letter(held >> bits);
        }
    }
    if bits > 0 {
        letter(held << (5 - bits));
    }
    out
}

fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut held, mut bits) = (Vec::with_capacity(36), 0_u32, 0);
    for letter in text.bytes() {
        let value = u32::try_from(BASE32.iter().position(|l| *l == letter)?).ok()?;
        (held, bits) = ((held << 5 | value) & 0xffff, bits + 5);
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    Some(out)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    let step = |crc: u16, octet: &u8| {
        (0..8).fold(crc ^ u16::from(*octet) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    };
    bytes.iter().fold(0, step)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A pair that the makers of nkeys publish in their documentation.
    const SEED_TEXT: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    const PUBLIC_TEXT: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credential");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        (folder, path)
    }

    fn read(user: Option<&str>, text: &str) -> Result<Credential, AuthError> {
        let (_folder, path) = file(text);
        Credential::read(user, Some(&path))
    }

    fn shown(credential: &Credential) -> serde_json::Value {
        serde_json::to_value(credential.present("nonce")).unwrap()
    }

    #[test]
    fn a_seed_signs_and_shows_its_public_key() {
        let credential = read(None, &format!("{SEED_TEXT}\n")).unwrap();
        let shown = shown(&credential);
        assert_eq!(shown["nkey"], PUBLIC_TEXT);
        assert_eq!(shown["sig"].as_str().unwrap().len(), 86, "64 octets, unpadded");
        assert!(shown.get("jwt").is_none() && !shown.to_string().contains(SEED_TEXT));
        let mut wrong = SEED_TEXT.to_owned();
        wrong.replace_range(20..21, "A");
        assert!(matches!(read(None, &wrong), Err(AuthError::Form(_))), "its CRC does not fit");
    }

    #[test]
    fn a_credentials_file_shows_its_jwt_and_signs() {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{SEED_TEXT}\n------END USER NKEY SEED------\n"
        );
        let shown = shown(&read(None, &text).unwrap());
        assert_eq!(shown["jwt"], "a.b.c");
        assert!(shown["sig"].is_string() && shown.get("nkey").is_none());
        assert!(matches!(read(None, &text.replace("SEED", "SOUP")), Err(AuthError::Form(_))));
    }

    #[test]
    fn a_word_is_a_token_and_with_a_user_a_password() {
        assert_eq!(shown(&read(None, "hush\n").unwrap())["auth_token"], "hush");
        let both = shown(&read(Some("box"), "hush\n").unwrap());
        assert_eq!((&both["user"], &both["pass"]), (&"box".into(), &"hush".into()));
        assert!(matches!(read(None, "two words"), Err(AuthError::Form(_))));
        assert_eq!(shown(&Credential::read(None, None).unwrap()), serde_json::json!({}));
    }
}
