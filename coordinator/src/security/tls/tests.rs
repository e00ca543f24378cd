use std::{fs, path::Path};

use super::{
    reload::{Found, Looker},
    testing::{Authority, Holder},
    *,
};
use crate::config::ClientCertificates;

const NOW_UNIX_S: i64 = 1_800_000_000;

/// A directory with a coordinator's files, and the authority that they are of.
fn files() -> (tempfile::TempDir, Authority) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("test");
    authority.issue(&Holder::server()).write(directory.path(), "server");
    fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    (directory, authority)
}

fn config(directory: &Path, client_certificates: ClientCertificates) -> TlsConfig {
    let asks = client_certificates != ClientCertificates::Off;
    TlsConfig {
        cert_file: directory.join("server.pem"),
        key_file: directory.join("server.key"),
        client_ca_file: if asks { directory.join("ca.pem") } else { PathBuf::new() },
        client_certificates,
        ..TlsConfig::default()
    }
}

fn refused(directory: &Path) -> String {
    match Tls::new(&config(directory, ClientCertificates::Required)) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn without_a_certificate_there_is_no_tls() {
    assert!(Tls::new(&TlsConfig::default()).unwrap().is_none());
    let (directory, _) = files();
    let config = TlsConfig { http: false, ..config(directory.path(), ClientCertificates::Off) };
    let tls = Tls::new(&config).unwrap().unwrap();
    assert!(tls.http().is_none());
    assert_eq!(tls.grpc().load().alpn_protocols, [b"h2"]);
}

#[test]
fn files_that_are_of_no_use_are_named_with_their_setting() {
    let (directory, authority) = files();
    let directory = directory.path();
    let check = |file: &str, content: &str, setting: &str, problem: &str| {
        let path = directory.join(file);
        let before = fs::read(&path).unwrap();
        fs::write(&path, content).unwrap();
        let error = refused(directory);
        assert!(error.contains(file) && error.contains(setting) && error.contains(problem), "{error}");
        fs::write(&path, before).unwrap();
    };
    check("server.pem", "", "tls.cert_file", "no certificate");
    check("server.pem", &"x".repeat((1 << 20) + 1), "tls.cert_file", "larger");
    check(
        "server.key",
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
        "tls.key_file",
        "no private key",
    );
    check("ca.pem", "nothing", "tls.client_ca_file", "no certificate");
    fs::write(directory.join("server.key"), authority.issue(&Holder::server()).key_pem()).unwrap();
    let error = refused(directory);
    assert!(error.contains("no TLS can be made"), "{error}");
    fs::remove_file(directory.join("server.key")).unwrap();
    let error = refused(directory);
    assert!(error.contains("could not read the key") && error.contains("tls.key_file"), "{error}");
}

#[test]
fn nothing_of_a_bad_key_is_shown() {
    let (directory, authority) = files();
    let key = authority.issue(&Holder::server()).key_pem();
    let sentinel = key.lines().nth(1).unwrap();
    let cut = key.replace("-----END PRIVATE KEY-----", "");
    fs::write(directory.path().join("server.key"), cut).unwrap();
    let error = refused(directory.path());
    assert!(!error.contains(&sentinel[..8]), "{error}");
}

#[test]
fn what_is_renewed_comes_into_force_and_what_is_bad_does_not() {
    let (directory, authority) = files();
    let directory = directory.path();
    let config = config(directory, ClientCertificates::Optional);
    let tls = Tls::new(&config).unwrap().unwrap();
    let mut looker = Looker::new(tls.clone());
    let mut look = || looker.look(load(&config), &config, NOW_UNIX_S);
    let in_force = || tls.grpc().load_full();
    assert_eq!(look(), Found::Same);
    let first = in_force();
    assert_eq!(look(), Found::Same);
    assert!(Arc::ptr_eq(&first, &in_force()), "what has not changed is not made anew");

    let renewed = authority.issue(&Holder { ends: (2040, 1, 1), ..Holder::server() });
    fs::write(directory.join("server.pem"), renewed.pem()).unwrap();
    assert_eq!(look(), Found::Unsure, "its key has not come yet");
    assert_eq!(tls.status().problem, None);
    fs::write(directory.join("server.key"), renewed.key_pem()).unwrap();
    assert_eq!(look(), Found::Replaced);
    let second = in_force();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(tls.status().expires_unix_s, 2_208_988_800);

    fs::write(directory.join("ca.pem"), "broken").unwrap();
    assert_eq!(look(), Found::Unsure);
    let Found::Bad(problem) = look() else { panic!("it was not complained of") };
    assert!(problem.contains("ca.pem"), "{problem}");
    assert_eq!(look(), Found::StillBad, "once is enough");
    assert_eq!(tls.status().problem, Some(problem));
    assert!(Arc::ptr_eq(&second, &in_force()), "the old one stays in force");

    fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    assert_eq!(look(), Found::Same);
    assert_eq!(tls.status().problem, None);
}

#[test]
fn a_certificate_that_has_expired_does_not_come_into_force() {
    let (directory, authority) = files();
    let config = config(directory.path(), ClientCertificates::Off);
    let tls = Tls::new(&config).unwrap().unwrap();
    let mut looker = Looker::new(tls.clone());
    looker.look(load(&config), &config, NOW_UNIX_S);
    let before = tls.status();
    authority.issue(&Holder { ends: (2020, 1, 1), ..Holder::server() }).write(directory.path(), "server");
    looker.look(load(&config), &config, NOW_UNIX_S);
    let Found::Bad(problem) = looker.look(load(&config), &config, NOW_UNIX_S) else { panic!("it was taken") };
    assert!(problem.contains("expired"), "{problem}");
    assert_eq!(tls.status(), CertificateStatus { problem: Some(problem), ..before });
}
