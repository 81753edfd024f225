use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::super::key::Alg;
use super::*;

fn key(alg: Alg) -> Key {
    Key::from_pem(&Key::make(alg).unwrap()).unwrap()
}

fn settings() -> SmartSettings {
    toml::from_str("client_id='box-1'\nkey_file='k'\nscopes=['system/Observation.cu']").unwrap()
}

fn part(text: &str, n: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split('.').nth(n).unwrap()).unwrap()).unwrap()
}

#[test]
fn an_assertion_is_as_smart_wants_it() {
    let key = key(Alg::Es384);
    let now = Stamp::at_ms(1_800_000_000_000);
    let with = SmartSettings { jku: Some("https://clinic.example/jwks.json".into()), ..settings() };
    let text = assertion(&with, &key, "https://auth.example/token", now).unwrap();
    assert_eq!(text.split('.').count(), 3);
    let (header, claims) = (part(&text, 0), part(&text, 1));
    let expected = json!({"alg": "ES384", "kid": key.kid(), "typ": "JWT", "jku": "https://clinic.example/jwks.json"});
    assert_eq!(header, expected);
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("box-1"), &json!("box-1")));
    assert_eq!(claims["aud"], "https://auth.example/token");
    let life = claims["exp"].as_i64().unwrap() - 1_800_000_000;
    assert!(life > 0 && life <= 300, "{life}");
    let again = assertion(&settings(), &key, "https://auth.example/token", now).unwrap();
    assert_ne!(part(&again, 1)["jti"], claims["jti"], "each is used once");
    assert!(part(&again, 0).get("jku").is_none());
}

#[test]
fn a_discovery_document_is_held_to_the_rules_of_the_configuration() {
    let key = key(Alg::Es384);
    let of = |doc: &str| endpoint(doc.as_bytes(), &key).map_err(|e| e.to_string());
    for good in ["https://auth.example/token", "http://127.0.0.1:9/token", "http://localhost:9/token"] {
        assert_eq!(of(&format!(r#"{{"token_endpoint":"{good}","x":1}}"#)).unwrap(), good);
    }
    for bad in
        ["http://auth.example/token", "https://me:pw@auth.example/token", "ftp://x/y", "/token", "", "file:///etc/x"]
    {
        assert!(of(&format!(r#"{{"token_endpoint":"{bad}"}}"#)).unwrap_err().contains("no https address"), "{bad}");
    }
    for (doc, why) in [
        ("<html>", "is not one"),
        ("[]", "is not one"),
        (r#"{"token_endpoint":7}"#, "is not one"),
        ("{}", "names no token_endpoint"),
        (
            r#"{"token_endpoint":"https://a/t","token_endpoint_auth_methods_supported":["client_secret_post"]}"#,
            "private_key_jwt",
        ),
        (r#"{"token_endpoint":"https://a/t","token_endpoint_auth_signing_alg_values_supported":["RS384"]}"#, "ES384"),
    ] {
        assert!(of(doc).unwrap_err().contains(why), "{doc}");
    }
}

#[test]
fn what_is_no_token_is_not_used() {
    let asked = settings().scopes;
    for body in [
        "",
        "<html>sign in</html>",
        "{}",
        r#"{"access_token":""}"#,
        r#"{"access_token":"a b"}"#,
        "{\"access_token\":\"a\\nX: y\"}",
        r#"{"access_token":"a","token_type":"mac"}"#,
        r#"{"access_token":["a"]}"#,
    ] {
        assert!(matches!(given(body.as_bytes(), &asked), Err(AuthTrouble::Unclear(_))), "{body}");
    }
    for (expires, seconds) in
        [("60", 60), ("\"60\"", 60), ("null", 300), ("-5", 0), ("0", 0), ("1e300", 0), ("999999999", 86_400)]
    {
        let body = format!(r#"{{"access_token":"a","token_type":"Bearer","expires_in":{expires}}}"#);
        assert_eq!(given(body.as_bytes(), &asked).unwrap().seconds, seconds, "{expires}");
    }
    let token = given(br#"{"access_token":"hush","token_type":"bearer"}"#, &asked).unwrap();
    assert!(token.bearer.is_sensitive() && !format!("{:?}", token.bearer).contains("hush"));
}

#[test]
fn a_refusal_says_what_of_ours_is_wrong() {
    let now = Stamp::at_ms(1_800_000_000_000);
    let at = |seconds: i64| jiff::Timestamp::from_second(1_800_000_000 + seconds).ok();
    let body = br#"{"error":"invalid_client","error_description":"no key for Jane Doe"}"#;
    let plain = refused(401, body, now, at(20));
    assert_eq!(plain, AuthTrouble::Client("HTTP 401: invalid_client".into()));
    let off = refused(401, body, now, at(-900)).to_string();
    assert!(off.contains("900 s ahead") && !off.contains("Jane"), "{off}");
    assert!(refused(400, body, now, at(900)).to_string().contains("900 s behind"));
    assert!(matches!(refused(400, br#"{"error":"invalid_scope"}"#, now, None), AuthTrouble::Scope(_)));
    for body in [&b""[..], b"<html>", br#"{"error":"Jane Doe"}"#, br#"{"error":7}"#] {
        assert!(matches!(refused(400, body, now, at(900)), AuthTrouble::Unclear(_)));
    }
}

proptest! {
    #[test]
    fn a_form_comes_back_as_it_was(value in "\\PC{0,60}") {
        let text = form(&[("scope", &value), ("b", "c")]);
        let url = Url::parse(&format!("http://x/?{text}")).unwrap();
        let back: Vec<_> = url.query_pairs().into_owned().collect();
        prop_assert_eq!(&back[0], &("scope".to_owned(), value));
        prop_assert_eq!(back.len(), 2);
    }

    #[test]
    fn no_answer_breaks_it(body in proptest::collection::vec(any::<u8>(), 0..200), status in 400u16..500) {
        let _ = given(&body, &settings().scopes);
        let _ = refused(status, &body, Stamp::at_ms(1_800_000_000_000), None);
    }
}
