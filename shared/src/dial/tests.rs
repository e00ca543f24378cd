use super::*;

fn security() -> Security {
    Security::default()
}

fn with_token() -> Security {
    Security { token: Some(Token::new("s3cret-token").unwrap()), ..security() }
}

#[test]
fn an_address_may_leave_the_scheme_out() {
    let url = |text| Way::new(text, security()).unwrap().url().to_owned();
    assert_eq!(url("127.0.0.1:7400"), "http://127.0.0.1:7400");
    assert_eq!(url("http://example.org:7400"), "http://example.org:7400");
    assert_eq!(url("https://example.org"), "https://example.org");
}

#[test]
fn what_is_no_address_is_refused() {
    for text in ["", "http://", "https://", "a b", "ftp://x:1", "unix:///x", "http:///path"] {
        assert!(matches!(Way::new(text, security()), Err(DialError::Url { .. })), "{text:?}");
    }
}

#[test]
fn another_port_of_the_same_host() {
    let url = |text| Way::new(text, security()).unwrap().with_port(7480).url().to_owned();
    assert_eq!(url("https://[::1]:7400"), "https://[::1]:7480");
    assert_eq!(url("http://example.org"), "http://example.org:7480");
}

#[test]
fn a_token_goes_to_this_machine_or_encrypted_or_not_at_all() {
    let check = |url, secure: Security, open| {
        let refused = matches!(Way::new(url, secure), Err(DialError::InTheOpen { .. }));
        assert_eq!(!refused, open, "{url}");
    };
    for url in ["127.0.0.1:7400", "http://localhost:1", "http://[::1]:1", "https://example.org"] {
        check(url, with_token(), true);
    }
    for url in ["example.org:7400", "http://10.0.0.1:1", "http://127.0.0.1.example.org:1", "http://[fe80::1]:1"] {
        check(url, with_token(), false);
        check(url, Security { token_file: Some("token".into()), ..security() }, false);
        // Who names an authority believes that the connection is encrypted.
        check(url, Security { ca_file: Some("ca.pem".into()), ..security() }, false);
        check(url, Security { allow_plaintext: true, ..with_token() }, true);
        check(url, security(), true);
    }
}

#[test]
fn a_certificate_goes_with_its_key() {
    for (cert_file, key_file) in [(Some("c".into()), None), (None, Some("k".into()))] {
        let security = Security { cert_file, key_file, ..security() };
        assert!(matches!(Way::new("https://x", security), Err(DialError::HalfAPair)));
    }
}

#[test]
fn a_token_is_shown_to_the_coordinator_alone() {
    let way = Way::new("https://example.org", with_token()).unwrap();
    let header = way.authorization().unwrap().unwrap();
    assert_eq!(header, "Bearer s3cret-token");
    assert!(header.is_sensitive());
    for shown in [format!("{way:?}"), format!("{header:?}"), serde_json::to_string(&with_token()).unwrap()] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn what_is_in_the_file_is_not_shown_when_it_is_no_token() {
    for text in ["", "\n", "two words", "zwölf"] {
        assert!(Token::new(text).is_err(), "{text:?}");
    }
    assert_eq!(Token::new(" a.b-c \n").unwrap().0, "a.b-c");
}

#[test]
fn words_for_people_come_out_of_any_depth() {
    let tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
    let inner = std::io::Error::new(std::io::ErrorKind::InvalidData, tls);
    let error = DialError::Handshake { host: "x:1".into(), source: inner };
    assert_eq!(explain(&error).as_deref(), Some("this port does not speak TLS: use http://"));
    assert_eq!(explain(&DialError::Token), None);
    // What is left of an alert once it has come through HTTP/2.
    let text = std::io::Error::other("received fatal alert: CertificateRequired");
    assert!(explain(&text).is_some_and(|words| words.contains("--cert-file")));
}
