//! Every call and every route with every role, from the tables and documents that the coordinator itself goes by.

use bytes::{Buf as _, BufMut as _};
use evenkeel_coordinator::security::{
    Role,
    access::{CALLS, OPEN_CALLS, ROUTES, RouteRule},
};
use evenkeel_shared::Code;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

use super::{Credentials, keyed, with_token};
use crate::{
    rest::Ask,
    support::{World, soon},
};

/// Messages as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// What a call with an empty message ends with, as far as its head says so; `None`: it goes on.
async fn code_of(world: &World, token: Option<&str>, call: &str) -> Option<tonic::Code> {
    let path: PathAndQuery = format!("/{call}").parse().unwrap();
    let request = Request::new(Vec::new());
    let answered = match token {
        Some(token) => {
            let mut grpc = Grpc::new(with_token(world, token));
            soon(grpc.ready()).await.unwrap();
            soon(grpc.server_streaming(request, path, Raw)).await
        }
        None => {
            let mut grpc = Grpc::new(world.channel());
            soon(grpc.ready()).await.unwrap();
            soon(grpc.server_streaming(request, path, Raw)).await
        }
    };
    answered.err().map(|status| status.code())
}

fn is_denied(code: Option<tonic::Code>) -> bool {
    matches!(code, Some(tonic::Code::Unauthenticated | tonic::Code::PermissionDenied))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_for_its_roles_and_for_nobody_else() {
    let world = Credentials::usual().world().await;
    for (call, roles, _) in CALLS {
        for role in Role::ALL {
            let code = code_of(&world, Some(&format!("ek_{}", role.name())), call).await;
            if roles.contains(&role) {
                assert!(!is_denied(code), "{call} as {}: {code:?}", role.name());
            } else {
                assert_eq!(code, Some(tonic::Code::PermissionDenied), "{call} as {}", role.name());
            }
        }
        for token in [None, Some("ek_nobody"), Some("a.b.c"), Some("")] {
            let code = code_of(&world, token, call).await;
            assert_eq!(code, Some(tonic::Code::Unauthenticated), "{call} with {token:?}");
        }
    }
    for call in OPEN_CALLS {
        for token in [None, Some("ek_nobody"), Some("ek_agent")] {
            assert!(!is_denied(code_of(&world, token, call).await), "{call} with {token:?}");
        }
    }
    let unknown = "evenkeel.v1.TaskService/Steal";
    assert_eq!(code_of(&world, Some("ek_admin"), unknown).await, Some(tonic::Code::PermissionDenied));
}

/// The addresses under `/api/v1` with their methods and the roles of their calls, from the document.
async fn addresses(world: &World) -> Vec<(String, String, &'static [Role])> {
    let ask = Ask::new("GET", "/api/v1/openapi.json").header("authorization", "Bearer ek_viewer");
    let document = ask.of(world).await.json();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some((service, call)) = operation["x-grpc"].as_str().and_then(|name| name.rsplit_once('.')) else {
                assert!(ROUTES.iter().any(|(route, _)| route == path), "{path} has no line");
                continue;
            };
            let name = format!("{service}/{call}");
            let (_, roles, _) =
                CALLS.iter().find(|rule| rule.0 == name).unwrap_or_else(|| panic!("{name} has no line"));
            let parts = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
            found.push((method.to_uppercase(), parts.collect::<Vec<_>>().join("/"), *roles));
        }
    }
    found
}

async fn status_of(world: &World, token: Option<&str>, method: &str, path: &str) -> u16 {
    let mut ask = Ask::new(method, path);
    let bearer = token.map(|token| format!("Bearer {token}"));
    if let Some(bearer) = &bearer {
        ask = ask.header("authorization", bearer);
    }
    ask.of(world).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_for_its_roles_and_for_nobody_else() {
    let world = Credentials::usual().world().await;
    let mut routes: Vec<(String, String, &[Role])> = Vec::new();
    for (route, rule) in ROUTES {
        match rule {
            RouteRule::For(roles) | RouteRule::Metrics(roles) => routes.push(("GET".into(), (*route).into(), roles)),
            RouteRule::Open | RouteRule::Call => {
                for token in [None, Some("ek_nobody"), Some("ek_agent")] {
                    let status = status_of(&world, token, "GET", route).await;
                    assert!(status != 401 && status != 403, "{route} with {token:?}: {status}");
                }
            }
        }
    }
    let of_calls = addresses(&world).await;
    assert!(of_calls.len() > 60, "the document has lost its addresses");
    routes.extend(of_calls);
    for (method, path, roles) in routes {
        // A profile would take its time, and is not on every platform.
        let slow = path.starts_with("/debug/");
        for role in Role::ALL {
            if roles.contains(&role) && slow {
                continue;
            }
            let status = status_of(&world, Some(&format!("ek_{}", role.name())), &method, &path).await;
            if roles.contains(&role) {
                assert!(status != 401 && status != 403, "{method} {path} as {}: {status}", role.name());
            } else {
                assert_eq!(status, 403, "{method} {path} as {}", role.name());
            }
        }
        for token in [None, Some("ek_nobody")] {
            assert_eq!(status_of(&world, token, &method, &path).await, 401, "{method} {path} with {token:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_open_where_they_are_set_to_be() {
    let credentials = Credentials::usual();
    let mut config = credentials.config();
    config.auth.metrics_open = true;
    let world = World::with(config).await;
    assert_eq!(status_of(&world, None, "GET", "/metrics").await, 200);
    assert_eq!(status_of(&world, None, "GET", "/api/v1/status").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_is_told_the_same_whatever_was_wrong() {
    let past = "expires = 2020-01-01T00:00:00Z";
    let credentials =
        Credentials::usual().with("old", "app", "client", past).with("bad", "app", "client", "revoked = true");
    let world = credentials.world().await;
    let mut words = Vec::new();
    for token in ["ek_old", "ek_bad", "ek_nobody", "x.y.z", "ek_client "] {
        let mut tasks = evenkeel_proto::v1::task_service_client::TaskServiceClient::new(with_token(&world, token));
        let status = soon(tasks.get(evenkeel_proto::v1::GetRequest::default())).await.unwrap_err();
        // The last one is the token of the client with a space behind it, which is as good.
        if token == "ek_client " {
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            continue;
        }
        assert_eq!(status.code(), tonic::Code::Unauthenticated, "{token}");
        words.push(status.message().to_owned());
    }
    words.dedup();
    assert_eq!(words, ["the credentials are not accepted"]);
    let error = world.refused(vec![crate::support::task("echo", "")]).await;
    assert_eq!(error.code, Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_ask_who_they_are() {
    let world = Credentials::usual().world().await;
    for (id, name) in [("admin", "root"), ("client", "app"), ("viewer", "dash"), ("agent", "a-1")] {
        let mut admin = evenkeel_proto::v1::admin_service_client::AdminServiceClient::new(keyed(&world, id));
        let who = soon(admin.who_am_i(evenkeel_proto::v1::WhoAmIRequest {})).await.unwrap().into_inner();
        assert_eq!((who.name.as_str(), who.credential.as_str(), who.method.as_str()), (name, id, "token"));
        assert_eq!(who.roles, [id]);
    }
}
