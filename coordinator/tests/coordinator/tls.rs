//! TLS on both ports, with clients that come as they should and otherwise.

use std::{fs, net::SocketAddr, path::Path};

use evenkeel_coordinator::{
    Coordinator, CoordinatorConfig, RunningCoordinator,
    config::{ClientCertificates, TlsConfig},
};
use evenkeel_proto::v1::{
    self, admin_service_client::AdminServiceClient, cluster_service_client::ClusterServiceClient,
};
use evenkeel_shared::dial::{Channel, DialError, Security, Way, explain};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Status;

use crate::{
    certificates::{Authority, Holder},
    support::{World, config, soon},
};

const CLOSED: &str = "evenkeel_connections_closed_total";
/// How a handshake begins: the head of a record that says it is 512 bytes long.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A coordinator that speaks TLS, the authority of everything around it, and their files.
struct Secure {
    coordinator: RunningCoordinator,
    authority: Authority,
    files: TempDir,
}

impl Secure {
    async fn start(client_certificates: ClientCertificates, change: impl FnOnce(&mut CoordinatorConfig)) -> Self {
        let (files, authority) = (tempfile::tempdir().unwrap(), Authority::new("test"));
        authority.issue(&Holder::server()).write(files.path(), "server");
        fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
        let mut config = config();
        config.tls = TlsConfig {
            cert_file: files.path().join("server.pem"),
            key_file: files.path().join("server.key"),
            client_certificates,
            reload_interval_ms: 100,
            ..TlsConfig::default()
        };
        if client_certificates != ClientCertificates::Off {
            config.tls.client_ca_file = files.path().join("ca.pem");
        }
        change(&mut config);
        let coordinator = soon(Coordinator::start(config)).await.expect("it starts");
        Self { coordinator, authority, files }
    }

    fn way(&self, security: Security) -> Way {
        Way::new(&format!("https://{}", self.coordinator.grpc_addr()), security).unwrap()
    }

    /// What a client trusts that knows the authority and shows nothing.
    fn trusting(&self) -> Security {
        Security { ca_file: Some(self.files.path().join("ca.pem")), ..Security::default() }
    }

    /// The same with a certificate of its own.
    fn showing(&self, name: &str, holder: &Holder, authority: &Authority) -> Security {
        authority.issue(holder).write(self.files.path(), name);
        let file = |kind| Some(self.files.path().join(format!("{name}.{kind}")));
        Security { cert_file: file("pem"), key_file: file("key"), ..self.trusting() }
    }

    async fn is_served(&self, security: Security) {
        soon(status(&self.way(security))).await.expect("it is served");
    }

    /// The words for people who come like this.
    async fn refused(&self, security: Security) -> String {
        let trouble = soon(status(&self.way(security))).await.expect_err("it is refused");
        trouble.words()
    }

    /// The value of a metric, asked over TLS.
    async fn metric(&self, name: &str) -> f64 {
        let (code, text) = http(&self.http_way(), "/metrics").await;
        assert_eq!(code, 200);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    async fn metric_reaches(&self, name: &str, value: f64) {
        // A channel may have dialled more than once.
        soon(async { while self.metric(name).await < value {} }).await;
    }

    fn http_way(&self) -> Way {
        self.way(self.trusting()).with_port(self.coordinator.http_addr().port())
    }
}

/// Why there was no answer.
#[derive(Debug)]
enum Trouble {
    Dial(DialError),
    Call(Status),
}

impl Trouble {
    fn words(&self) -> String {
        let error: &(dyn std::error::Error + 'static) = match self {
            Self::Dial(error) => error,
            Self::Call(status) => status,
        };
        explain(error).unwrap_or_else(|| panic!("nothing is said of {self:?}"))
    }
}

async fn channel(way: &Way) -> Result<Channel, Trouble> {
    way.connect(&way.endpoint().unwrap()).await.map_err(Trouble::Dial)
}

async fn status(way: &Way) -> Result<(), Trouble> {
    let mut cluster = ClusterServiceClient::new(channel(way).await?);
    cluster.get_strategy(v1::GetStrategyRequest {}).await.map(drop).map_err(Trouble::Call)
}

async fn http(way: &Way, path: &str) -> (u16, String) {
    let mut stream = soon(way.http()).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    (code, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
}

async fn dial(address: SocketAddr, said: &[u8]) -> TcpStream {
    let mut stream = soon(TcpStream::connect(address)).await.unwrap();
    stream.write_all(said).await.unwrap();
    stream
}

/// Reads until the other side closes.
async fn closes(mut stream: TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    // However it is closed.
    let _ = soon(stream.read_to_end(&mut received)).await;
    received
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ports_speak_tls_to_who_trusts_the_authority() {
    let secure = Secure::start(ClientCertificates::Off, |_| {}).await;
    secure.is_served(secure.trusting()).await;
    assert_eq!(http(&secure.http_way(), "/healthz").await.0, 200);
    let expires = secure.metric("evenkeel_certificate_expiry_timestamp_seconds").await;
    assert_eq!(expires, 4_070_908_800.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_can_be_left_open() {
    let secure = Secure::start(ClientCertificates::Off, |config| config.tls.http = false).await;
    secure.is_served(secure.trusting()).await;
    let open = Way::new(&format!("http://{}", secure.coordinator.http_addr()), Security::default()).unwrap();
    assert_eq!(http(&open, "/healthz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_cannot_be_trusted_is_not_spoken_to() {
    let secure = Secure::start(ClientCertificates::Off, |_| {}).await;
    let other = secure.files.path().join("other.pem");
    write(&other, &Authority::new("other").pem());
    let words = secure.refused(Security { ca_file: Some(other), ..Security::default() }).await;
    assert!(words.contains("authority that is not trusted"), "{words}");
    let words = secure.refused(Security { server_name: Some("elsewhere.test".into()), ..secure.trusting() }).await;
    assert!(words.contains("for another name"), "{words}");
    secure.is_served(Security { server_name: Some("localhost".into()), ..secure.trusting() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_whose_time_is_over_is_not_spoken_to() {
    let secure = Secure::start(ClientCertificates::Off, |config| {
        let expired = Authority::new("test").issue(&Holder { ends: (2020, 1, 1), ..Holder::server() });
        write(&config.tls.cert_file, &expired.pem());
        write(&config.tls.key_file, &expired.key_pem());
    })
    .await;
    // Of another authority as well; when it ended is looked at first.
    let trouble = soon(status(&secure.way(secure.trusting()))).await.expect_err("it is refused");
    assert!(matches!(trouble, Trouble::Dial(_)), "{trouble:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_to_show_a_certificate_shows_a_good_one() {
    let secure = Secure::start(ClientCertificates::Required, |_| {}).await;
    let holder = Holder::named("evenkeel://admin/root");
    secure.is_served(secure.showing("good", &holder, &secure.authority)).await;

    let words = secure.refused(secure.trusting()).await;
    assert!(words.contains("asks for a certificate"), "{words}");
    let words = secure.refused(secure.showing("stranger", &holder, &Authority::new("other"))).await;
    assert!(words.contains("does not take this side's certificate"), "{words}");
    let late = Holder { ends: (2020, 1, 1), ..holder.clone() };
    let words = secure.refused(secure.showing("late", &late, &secure.authority)).await;
    assert!(words.contains("has expired"), "{words}");
    // A coordinator's certificate is not one to come with.
    let server = Holder { uri: holder.uri, ..Holder::server() };
    let trouble = soon(status(&secure.way(secure.showing("server-2", &server, &secure.authority)))).await;
    assert!(trouble.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_may_be_left_out_where_it_is_optional_but_not_be_bad() {
    let secure = Secure::start(ClientCertificates::Optional, |_| {}).await;
    secure.is_served(secure.trusting()).await;
    let holder = Holder::named("evenkeel://admin/root");
    secure.is_served(secure.showing("good", &holder, &secure.authority)).await;
    let words = secure.refused(secure.showing("stranger", &holder, &Authority::new("other"))).await;
    assert!(words.contains("does not take this side's certificate"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_says_who_calls() {
    let secure = Secure::start(ClientCertificates::Optional, |config| config.auth.enabled = true).await;
    let security = secure.showing("root", &Holder::named("evenkeel://admin/root"), &secure.authority);
    let mut admin = AdminServiceClient::new(channel(&secure.way(security)).await.unwrap());
    let who = soon(admin.who_am_i(v1::WhoAmIRequest {})).await.unwrap().into_inner();
    assert_eq!((who.name.as_str(), who.method.as_str()), ("root", "certificate"), "{who:?}");
    let mut nobody = AdminServiceClient::new(channel(&secure.way(secure.trusting())).await.unwrap());
    let refused = soon(nobody.who_am_i(v1::WhoAmIRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_ends_its_streams() {
    let secure = Secure::start(ClientCertificates::Optional, |config| {
        config.auth.enabled = true;
        config.auth.reload_interval_ms = 100;
    })
    .await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ends_at = Some(now + std::time::Duration::from_secs(3));
    let holder = Holder { ends_at, ..Holder::named("evenkeel://viewer/dash") };
    let way = secure.way(secure.showing("dash", &holder, &secure.authority));
    // On a machine that is so slow that it is over before it begins, the handshake or the call is refused for the same reason.
    let Ok(channel) = channel(&way).await else { return };
    let follow = v1::EventsRequest { follow: true, ..v1::EventsRequest::default() };
    let Ok(events) = soon(ClusterServiceClient::new(channel).events(follow)).await else { return };
    let mut events = events.into_inner();
    let ended = loop {
        match soon(events.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), tonic::Code::Unauthenticated, "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_without_tls_is_told_to_use_it() {
    let secure = Secure::start(ClientCertificates::Off, |_| {}).await;
    let open = |address: SocketAddr| Way::new(&format!("http://{address}"), Security::default()).unwrap();
    // A call that is made after the goodbye was heard is told only that the connection is gone.
    let told = async {
        loop {
            if let Err(Trouble::Call(status)) = status(&open(secure.coordinator.grpc_addr())).await
                && let Some(words) = explain(&status)
            {
                break words;
            }
        }
    };
    assert_eq!(soon(told).await, "this port speaks TLS: use https://");
    let (code, body) = http(&open(secure.coordinator.http_addr()), "/healthz").await;
    assert_eq!((code, body.as_str()), (400, "this port speaks TLS: use https://\n"));
    let told = closes(dial(secure.coordinator.grpc_addr(), b"GET / HTTP/1.1\r\n\r\n").await).await;
    assert!(told.ends_with(b"use https://\n"));
    secure.metric_reaches(&format!("{CLOSED}{{reason=\"plaintext\"}}"), 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_with_tls_to_an_open_port_is_told_to_leave_it() {
    let world = World::start().await;
    for address in [world.coordinator.grpc_addr(), world.coordinator.http_addr()] {
        let way = Way::new(&format!("https://{address}"), Security::default()).unwrap();
        let trouble = soon(status(&way)).await.unwrap_err();
        assert_eq!(trouble.words(), "this port does not speak TLS: use http://");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ports_are_not_mixed_up() {
    let secure = Secure::start(ClientCertificates::Off, |_| {}).await;
    let words = soon(status(&secure.http_way())).await.unwrap_err().words();
    assert!(words.contains("ports of their own"), "{words}");
    secure.metric_reaches(&format!("{CLOSED}{{reason=\"handshake\"}}"), 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_stalled_handshakes_keep_nobody_out() {
    let secure = Secure::start(ClientCertificates::Off, |config| {
        config.limits.handshakes_max = 8;
        // None of them is closed for its time.
        config.limits.greeting_timeout_ms = 3_600_000;
    })
    .await;
    let grpc = secure.coordinator.grpc_addr();
    let mut stalled = Vec::new();
    for number in 0..200 {
        stalled.push(dial(grpc, if number % 2 == 0 { b"" } else { HALF_A_HELLO }).await);
    }
    secure.is_served(secure.trusting()).await;
    // The one that was served took the place of one more.
    secure.metric_reaches(&format!("{CLOSED}{{reason=\"handshake_crowded\"}}"), 193.0).await;
    closes(stalled.swap_remove(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_come_to_its_point_is_closed() {
    let secure = Secure::start(ClientCertificates::Off, |config| config.limits.greeting_timeout_ms = 300).await;
    let (grpc, http) = (secure.coordinator.grpc_addr(), secure.coordinator.http_addr());
    for address in [grpc, http] {
        closes(dial(address, b"").await).await;
        closes(dial(address, HALF_A_HELLO).await).await;
    }
    // Nor is it enough to shake hands.
    let way = secure.way(secure.trusting());
    let mut quiet = soon(way.with_port(http.port()).http()).await.unwrap();
    let _ = soon(quiet.read(&mut [0; 64])).await;
    assert!(closes(dial(grpc, &PREFACE[..3]).await).await.ends_with(b"https://"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_under_open_connections() {
    let secure = Secure::start(ClientCertificates::Required, |_| {}).await;
    let holder = Holder::named("evenkeel://admin/root");
    let before = secure.showing("before", &holder, &secure.authority);
    let mut open = ClusterServiceClient::new(channel(&secure.way(before.clone())).await.unwrap());
    soon(open.get_strategy(v1::GetStrategyRequest {})).await.unwrap();

    // Another authority altogether, for both sides.
    let next = Authority::new("next");
    next.issue(&Holder::server()).write(secure.files.path(), "server");
    write(&secure.files.path().join("ca.pem"), &next.pem());
    let after = secure.showing("after", &holder, &next);
    soon(async { while status(&secure.way(after.clone())).await.is_err() {} }).await;

    soon(open.get_strategy(v1::GetStrategyRequest {})).await.expect("what was open stays open");
    let old_authority = secure.files.path().join("old.pem");
    write(&old_authority, &secure.authority.pem());
    let old = Security { ca_file: Some(old_authority), ..before.clone() };
    assert!(soon(status(&secure.way(old))).await.is_err(), "the old certificate is shown no longer");
    let old = Security { ca_file: after.ca_file, ..before };
    let words = secure.refused(old).await;
    assert!(words.contains("does not take this side's certificate"), "{words}");
}

#[test]
fn other_machines_are_served_with_tls_and_authentication_only() {
    let with = |tls: bool, http: bool, auth: bool, insecure: bool| {
        let mut config = CoordinatorConfig {
            grpc: "0.0.0.0:0".parse().unwrap(),
            http: "[::]:0".parse().unwrap(),
            insecure,
            ..config()
        };
        if tls {
            (config.tls.cert_file, config.tls.key_file) = ("c".into(), "k".into());
        }
        config.tls.http = http;
        config.auth.enabled = auth;
        config.validate()
    };
    assert!(with(true, true, true, false).is_ok());
    assert!(with(false, true, false, true).is_ok());
    for (tls, http, auth, setting) in [
        (false, true, false, "grpc"),
        (true, true, false, "grpc"),
        (false, true, true, "grpc"),
        (true, false, true, "http"),
    ] {
        let error = with(tls, http, auth, false).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{setting} = ")), "{error}");
    }
}
