use super::*;

fn config(algorithm: &str) -> JwtConfig {
    JwtConfig { algorithm: algorithm.into(), issuer: "i".into(), audience: "a".into(), ..JwtConfig::default() }
}

/// The example of RFC 7517, appendix A.1.
const EC: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1"}]}"#;

#[test]
fn a_key_set_needs_a_key_for_the_algorithm() {
    assert!(WebTokens::new(&config("ES256"), EC).is_ok());
    assert!(matches!(WebTokens::new(&config("RS256"), EC), Err(JwtError::NoKey(_))));
    assert!(matches!(WebTokens::new(&config("ES256"), &EC.replace("sig", "enc")), Err(JwtError::NoKey(_))));
    assert!(matches!(WebTokens::new(&config("ES256"), "{}"), Err(JwtError::Json { .. })));
    assert!(matches!(WebTokens::new(&config("HS256"), EC), Err(JwtError::Algorithm(_))));
    assert!(matches!(WebTokens::new(&config("none"), EC), Err(JwtError::Algorithm(_))));
}

#[test]
fn roles_are_a_list_or_words() {
    assert_eq!(words(Some(&serde_json::json!(["a", "b", 1]))), ["a", "b"]);
    assert_eq!(words(Some(&serde_json::json!("a  b"))), ["a", "b"]);
    assert_eq!(words(Some(&serde_json::json!(7))), Vec::<String>::new());
    assert_eq!(words(None), Vec::<String>::new());
}

#[test]
fn what_is_remembered_of_a_token_is_good_for_its_time_alone() {
    let tokens = WebTokens::new(&config("ES256"), EC).unwrap();
    let caller = Arc::new(Caller::nobody());
    tokens.remembered().insert(hash("a.b.c"), (Arc::clone(&caller), 1_000, 2_000));
    let at = |now_unix_ms| tokens.caller("a.b.c", now_unix_ms).ok();
    for now in [1_000, 1_999] {
        assert_eq!(at(now), Some((Arc::clone(&caller), Some(2_000))));
    }
    // It is looked at again, and is no token at all.
    for now in [999, 2_000] {
        assert_eq!(at(now), None, "{now}");
    }
}
