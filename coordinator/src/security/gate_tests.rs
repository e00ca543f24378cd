use evenkeel_shared::Code;
use futures_util::FutureExt as _;
use rcgen::{CertificateParams, KeyPair, SanType};
use tonic::codegen::http::HeaderValue;

use super::*;
use crate::{
    actors::manager::ManagerState,
    config::AuditConfig,
    directory::{Directory, KeptLimits},
    security::{
        Method, PeerCertificate,
        tokens::{hash, hex},
    },
    sessions::Sessions,
    snapshot::Snapshot,
};

struct World {
    gate: Gate,
    directory: tempfile::TempDir,
}

/// A token `ek_ID` of this name and role.
fn token(id: &str, name: &str, role: &str, more: &str) -> String {
    let hash = hex(&hash(&format!("ek_{id}")));
    format!("[[credential]]\nid = \"{id}\"\nname = \"{name}\"\nroles = [\"{role}\"]\nsha256 = \"{hash}\"\n{more}\n")
}

fn world(credentials: &str, change: impl FnOnce(&mut AuthConfig)) -> World {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("credentials.toml");
    std::fs::write(&path, credentials).unwrap();
    let mut config = AuthConfig { enabled: true, credentials_file: path, ..AuthConfig::default() };
    change(&mut config);
    let kept = Directory::new(&[], KeptLimits { tasks: 1, bytes: 1 });
    let metrics = Metrics::new(Snapshot::default(), kept, Sessions::new(1, 1), ManagerState::new(true));
    let audit = Audit::start(&AuditConfig::default(), directory.path());
    World { gate: Gate::new(&config, audit, directory.path(), &metrics).unwrap(), directory }
}

fn bearing(token: Option<&str>) -> HeaderMap {
    let value = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    value.into_iter().map(|value| ("authorization".parse().unwrap(), value)).collect()
}

fn certificate(uri: &str) -> Extensions {
    certificate_until(uri, 2099)
}

/// One that ends with the beginning of this year.
fn certificate_until(uri: &str, year: i32) -> Extensions {
    let mut params = CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let mut extensions = Extensions::default();
    extensions.insert(PeerCertificate(made.der().to_vec().into()));
    extensions
}

const WHO: &str = "/evenkeel.v1.AdminService/WhoAmI";

impl World {
    fn ask(&self, uri: Option<&str>, token: Option<&str>) -> Result<Admitted, Error> {
        let extensions = uri.map(certificate).unwrap_or_default();
        self.gate.admit(WHO, &bearing(token), &extensions)
    }

    fn who(&self, uri: Option<&str>, token: Option<&str>) -> Arc<Caller> {
        self.ask(uri, token).unwrap_or_else(|error| panic!("{uri:?} {token:?}: {error}")).caller
    }

    fn refused(&self, uri: Option<&str>, token: Option<&str>) -> Code {
        self.ask(uri, token).err().unwrap_or_else(|| panic!("{uri:?} {token:?}: let in")).code
    }
}

#[test]
fn a_certificate_says_who_calls() {
    let world = world("[[certificate]]\nname = \"a-*\"\nslots_max = 3\n", |_| {});
    let client = world.who(Some("evenkeel://client/billing?tenant=acme"), None);
    assert_eq!((client.name.as_str(), &client.roles[..]), ("billing", &[Role::Client][..]));
    assert_eq!((client.method, client.tenant.as_ref().unwrap().as_str()), (Method::Certificate, "acme"));
    assert!(client.credential.starts_with("certificate:") && client.credential.len() == 76, "{client:?}");
    let agent = world.who(Some("evenkeel://agent/a-1"), None);
    assert_eq!((&agent.agent.ids[..], agent.agent.slots_max), (&["a-1".to_owned()][..], Some(3)));
    for uri in ["evenkeel://king/x", "evenkeel://admin/x?tenant=acme", "https://other.example"] {
        assert_eq!(world.refused(Some(uri), None), Code::Unauthenticated, "{uri}");
    }
}

#[test]
fn a_certificate_is_good_until_it_ends() {
    let world = world("", |_| {});
    let uri = "evenkeel://client/billing";
    let caller = world.gate.admit(WHO, &HeaderMap::new(), &certificate_until(uri, 2060)).unwrap().caller;
    assert_eq!(world.gate.expires_unix_ms(&caller), 2_840_140_800_000);
    // The handshake took it while it was good; its connection lasts.
    let over = world.gate.admit(WHO, &HeaderMap::new(), &certificate_until(uri, 2020));
    assert_eq!(over.err().map(|error| error.code), Some(Code::Unauthenticated));
}

#[tokio::test]
async fn what_lasts_without_authentication_ends_when_it_is_switched_on() {
    let world = world("", |config| config.enabled = false);
    let ask = |call: &str| world.gate.admit(&format!("/evenkeel.v1.{call}"), &HeaderMap::new(), &Extensions::new());
    assert!(ask("TaskService/Submit").unwrap().call.is_none(), "it is over before anybody could switch it on");
    let ended = ask("AgentService/Session").unwrap().call.unwrap().ended();
    let on = AuthConfig { enabled: true, ..AuthConfig::default() };
    assert!(world.gate.reload(Some(&on)).unwrap());
    assert!(ended.now_or_never().is_some(), "it has ended by the time that it is on");
    assert_eq!(ask("AgentService/Session").err().map(|error| error.code), Some(Code::Unauthenticated));
    // Those who come after it was switched off once more have nothing to do with those before.
    assert!(world.gate.reload(Some(&AuthConfig::default())).unwrap());
    let goes_on = ask("AgentService/Session").unwrap().call.unwrap();
    assert!(goes_on.ended().now_or_never().is_none());
}

#[test]
fn a_certificate_of_nobody_here_leaves_it_to_the_token() {
    let world = world(&token("t", "app", "client", ""), |_| {});
    assert_eq!(world.who(Some("https://other.example"), Some("ek_t")).name, "app");
}

#[test]
fn two_credentials_are_of_one_caller_and_allow_what_both_do() {
    let grant = "[credential.agent]\nids = [\"a-*\"]\nslots_max = 2";
    let tokens = [
        token("c", "app", "client", ""),
        token("tenant", "app", "client", "tenant = \"acme\""),
        token("a", "a-1", "agent", grant),
    ];
    let world = world(&tokens.concat(), |_| {});
    assert_eq!(world.who(Some("evenkeel://client/app"), Some("ek_c")).roles, [Role::Client]);
    let agent = world.who(Some("evenkeel://agent/a-1"), Some("ek_a"));
    assert_eq!((&agent.agent.ids[..], agent.agent.slots_max), (&["a-1".to_owned()][..], Some(2)));
    for (uri, token) in [
        ("evenkeel://client/other", "ek_c"),
        ("evenkeel://client/app", "ek_tenant"),
        ("evenkeel://client/app", "ek_nobody"),
        ("evenkeel://king/app", "ek_c"),
    ] {
        assert_eq!(world.refused(Some(uri), Some(token)), Code::Unauthenticated, "{uri} {token}");
    }
    // Nothing is left that both allow.
    assert_eq!(world.refused(Some("evenkeel://admin/app"), Some("ek_c")), Code::PermissionDenied);
}

#[test]
fn certificates_say_nothing_where_they_are_off() {
    let world = world("", |config| config.certificates = false);
    assert_eq!(world.refused(Some("evenkeel://admin/root"), None), Code::Unauthenticated);
}

#[test]
fn what_is_no_token_at_all_is_refused() {
    let world = world(&token("t", "app", "client", ""), |_| {});
    let of = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("authorization", HeaderValue::from_str(value).unwrap());
        }
        world.gate.admit(WHO, &headers, &Extensions::default()).is_ok()
    };
    assert!(of(&["Bearer ek_t"]) && of(&["bearer ek_t"]));
    let long = format!("Bearer {}", "x".repeat(10_000));
    for values in [&["Basic ek_t"][..], &["ek_t"], &["Bearer "], &[""], &[&long], &["Bearer ek_t", "Bearer ek_t"]] {
        assert!(!of(values), "{values:?}");
    }
}

#[test]
fn a_client_has_so_many_calls_under_way_and_others_have_theirs() {
    let tokens =
        token("one", "app", "client", "") + &token("two", "app", "client", "") + &token("x", "x", "client", "");
    let world = world(&tokens, |config| config.client_calls_open_max = 2);
    let first = world.ask(None, Some("ek_one")).unwrap();
    let _second = world.ask(None, Some("ek_two")).unwrap();
    let error = world.ask(None, Some("ek_one")).err().unwrap();
    assert_eq!((error.code, error.retry_after.is_some()), (Code::ResourceExhausted, true));
    assert!(world.ask(None, Some("ek_x")).is_ok());
    drop(first);
    assert!(world.ask(None, Some("ek_two")).is_ok());
}

#[test]
fn a_credential_is_seen_in_use_and_gives_its_places_back() {
    let world = world(&token("t", "app", "client", ""), |_| {});
    let admitted = world.ask(None, Some("ek_t")).unwrap();
    let live = world.gate.lives().remove(0);
    assert_eq!((live.open(), live.last_used_unix_ms() > 0), (1, true));
    drop(admitted);
    assert_eq!(live.open(), 0);
}

#[test]
fn revocations_are_kept_beside_the_data() {
    let world = world(&token("t", "app", "client", ""), |_| {});
    let revocation = Revocation { id: "t".into(), at_unix_ms: 1, by: "root".into(), reason: "lost".into() };
    world.gate.revoke(revocation.clone()).unwrap();
    assert_eq!(world.refused(None, Some("ek_t")), Code::Unauthenticated);
    assert_eq!(RevokedFile::open(world.directory.path()).unwrap().all(), [revocation]);
    // A file that is read again does not bring it back.
    std::fs::write(world.directory.path().join("credentials.toml"), token("t", "app", "admin", "")).unwrap();
    assert!(world.gate.reload(None).unwrap());
    assert_eq!(world.refused(None, Some("ek_t")), Code::Unauthenticated);
}

#[tokio::test]
async fn an_end_that_the_file_names_later_ends_what_is_under_way() {
    let credentials = |id: &str, more: &str| token("new", "app", "client", "") + &token(id, "app", "client", more);
    let world = world(&credentials("old", ""), |_| {});
    let under_way = |id: &str| world.ask(None, Some(id)).unwrap().call.unwrap();
    let (old, new) = (under_way("ek_old"), under_way("ek_new"));
    let says = |more: &str| {
        std::fs::write(world.directory.path().join("credentials.toml"), credentials("old", more)).unwrap();
        assert!(world.gate.reload(None).unwrap());
    };
    says("expires = 2099-01-01T00:00:00Z");
    assert!(old.ended().now_or_never().is_none(), "it is good until then");
    says("expires = 2020-01-01T00:00:00Z");
    assert!(old.ended().now_or_never().is_some());
    assert!(new.ended().now_or_never().is_none(), "the other token of the same name is good");
    assert_eq!(world.refused(None, Some("ek_old")), Code::Unauthenticated);
}

/// What is under way in the name of one credential ends with a change of the file or of the settings; what is under way in the
/// name of another, which the change does not touch, goes on.
fn check_ends(what: &str, of: (Option<&str>, Option<&str>), change: impl FnOnce(&mut AuthConfig, &str) -> String) {
    let file = token("other", "other", "viewer", "") + &token("t", "app", "client", "tenant = \"acme\"");
    let world = world(&format!("{file}\n[[certificate]]\nname = \"a-*\"\nslots_max = 3\n"), |_| {});
    let under_way = world.ask(of.0, of.1).unwrap();
    let other = world.ask(None, Some("ek_other")).unwrap().call.unwrap();
    let mut config = world.gate.0.policy.load().config.clone();
    let changed = change(&mut config, &under_way.caller.credential);
    let is_on = config.is_on();
    std::fs::write(&config.credentials_file, changed).unwrap();
    assert!(world.gate.reload(Some(&config)).unwrap(), "{what}");
    assert!(under_way.call.unwrap().ended().now_or_never().is_some(), "{what}: it goes on");
    assert_eq!(other.ended().now_or_never().is_none(), is_on, "{what}: the other");
}

#[tokio::test]
async fn what_is_under_way_ends_with_what_allowed_it() {
    let other = || token("other", "other", "viewer", "");
    let of_acme = |role: &str| token("t", "app", role, "tenant = \"acme\"");
    let grant = |slots: u32| format!("[[certificate]]\nname = \"a-*\"\nslots_max = {slots}\n");
    let (by_token, by_certificate) = ((None, Some("ek_t")), (Some("evenkeel://agent/a-1"), None));
    check_ends("its token is gone", by_token, |_, _| other());
    check_ends("its token is revoked", by_token, |_, _| other() + &of_acme("client") + "revoked = true\n");
    check_ends("another role", by_token, |_, _| other() + &of_acme("viewer"));
    check_ends("another tenant", by_token, |_, _| other() + &token("t", "app", "client", "tenant = \"else\""));
    check_ends("authentication is off", by_token, |config, _| {
        config.enabled = false;
        other() + &of_acme("client")
    });
    check_ends("certificates are off", by_certificate, |config, _| {
        config.certificates = false;
        other() + &grant(3)
    });
    check_ends("fewer slots", by_certificate, |_, _| other() + &grant(2));
    check_ends("its certificate is revoked", by_certificate, |_, id| {
        format!("revoked = [\"{id}\"]\n") + &other() + &grant(3)
    });
}

#[test]
fn accounts_are_bounded_and_only_those_of_idle_clients_make_room() {
    let world = world("", |_| {});
    let client = |name: &str| world.ask(Some(&format!("evenkeel://client/{name}")), None);
    let known = client("known").unwrap();
    let mut busy: Vec<Arc<Account>> = Vec::new();
    while world.gate.0.accounts.len() < account::ACCOUNTS_MAX {
        busy.push(world.gate.0.accounts.entry(format!("busy-{}", busy.len())).or_default().clone());
    }
    assert_eq!(client("new").err().map(|error| error.code), Some(Code::ResourceExhausted));
    drop(known);
    client("known").expect("who has an account needs no room");
    busy.pop();
    client("new").expect("one of them is idle");
    assert!(world.gate.0.accounts.len() <= account::ACCOUNTS_MAX);
}
