//! JSON web tokens, made by an issuer of this test.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use evenkeel_coordinator::CoordinatorConfig;
use evenkeel_proto::v1::{self, admin_service_client::AdminServiceClient, task_service_client::TaskServiceClient};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use serde_json::{Value, json};

use super::{Credentials, keyed, with_token};
use crate::support::{World, soon};

struct Issuer {
    id: &'static str,
    key: KeyPair,
}

impl Issuer {
    fn new(id: &'static str) -> Self {
        Self { id, key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap() }
    }

    fn public(&self) -> Value {
        // A point without compression: a byte, and the two coordinates.
        let point = self.key.der_bytes();
        let (x, y) = point[1..].split_at(32);
        let text = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id, "x": text(x), "y": text(y) })
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.into()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(self.key.serialized_der());
        encode(&header, claims, &key).unwrap()
    }
}

fn seconds_from_now(seconds: i64) -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + seconds
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "evenkeel", "sub": "billing", "jti": "t-1", "roles": ["client", "accountant"],
        "tenant": "red", "nbf": seconds_from_now(-60), "exp": seconds_from_now(3_600),
    })
}

fn without(claim: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[claim] = value;
    claims
}

fn config(credentials: &Credentials, issuers: &[&Issuer]) -> CoordinatorConfig {
    let path = credentials.directory.path().join("keys.json");
    let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.public()).collect();
    std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
    let mut config = credentials.config();
    config.auth.jwt.jwks_file = path;
    config.auth.jwt.issuer = "https://id.example".into();
    config.auth.jwt.audience = "evenkeel".into();
    config.auth.jwt.leeway_ms = 0;
    config
}

async fn code(world: &World, token: &str) -> tonic::Code {
    let mut tasks = TaskServiceClient::new(with_token(world, token));
    soon(tasks.list(v1::ListRequest::default())).await.map_or_else(|status| status.code(), |_| tonic::Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_one_says_who_calls_and_bad_ones_are_all_the_same() {
    let (credentials, issuer) = (Credentials::usual(), Issuer::new("k1"));
    let world = World::with(config(&credentials, &[&issuer])).await;
    let good = issuer.sign(&claims());
    let mut admin = AdminServiceClient::new(with_token(&world, &good));
    let who = soon(admin.who_am_i(v1::WhoAmIRequest {})).await.unwrap().into_inner();
    assert_eq!((who.name.as_str(), who.tenant.as_str(), who.method.as_str()), ("billing", "red", "jwt"));
    assert_eq!((who.roles, who.credential.as_str()), (vec!["client".to_owned()], "jwt:t-1"));
    let mut bad = vec![
        ("another key", Issuer::new("k1").sign(&claims())),
        ("another audience", issuer.sign(&with("aud", json!("other")))),
        ("another issuer", issuer.sign(&with("iss", json!("https://evil.example")))),
        ("over", issuer.sign(&with("exp", json!(seconds_from_now(-5))))),
        ("not yet", issuer.sign(&with("nbf", json!(seconds_from_now(3_600))))),
        ("no roles of ours", issuer.sign(&with("roles", json!(["king"])))),
        // Whoever read these as no tenant would let it see all of them.
        ("a tenant that is a number", issuer.sign(&with("tenant", json!(7)))),
        ("a tenant that is a list", issuer.sign(&with("tenant", json!(["red"])))),
        ("a tenant without a name", issuer.sign(&with("tenant", json!("")))),
        ("an admin of one tenant", issuer.sign(&with("roles", json!(["admin"])))),
        ("cut", good[..good.len() - 4].to_owned()),
    ];
    for claim in ["iss", "aud", "exp", "nbf", "sub", "roles"] {
        bad.push((claim, issuer.sign(&without(claim))));
    }
    // Without a signature, and with one that everybody can make who has read the public key.
    let body = good.split('.').nth(1).unwrap();
    let head = |alg: &str| BASE64_URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "kid": "k1" }).to_string());
    bad.push(("none", format!("{}.{body}.", head("none"))));
    let public = EncodingKey::from_secret(issuer.public().to_string().as_bytes());
    let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
    bad.push(("a shared secret", encode(&header, &claims(), &public).unwrap()));
    for (what, token) in bad {
        assert_eq!(code(&world, &token).await, tonic::Code::Unauthenticated, "{what}");
    }
    assert_eq!(code(&world, &good).await, tonic::Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tenant_is_where_the_settings_say_it_is() {
    let (credentials, issuer) = (Credentials::usual(), Issuer::new("k1"));
    let mut config = config(&credentials, &[&issuer]);
    config.auth.jwt.tenant_claim = "org".into();
    let world = World::with(config).await;
    let tenant_of = async |claims: Value| {
        let mut admin = AdminServiceClient::new(with_token(&world, &issuer.sign(&claims)));
        soon(admin.who_am_i(v1::WhoAmIRequest {})).await.unwrap().into_inner().tenant
    };
    assert_eq!(tenant_of(with("org", json!("blue"))).await, "blue");
    assert_eq!(tenant_of(claims()).await, "", "`tenant` is any other claim");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_revoked_by_its_id_and_others_are_not() {
    let (credentials, issuer) = (Credentials::usual(), Issuer::new("k1"));
    let world = World::with(config(&credentials, &[&issuer])).await;
    let (one, other) = (issuer.sign(&claims()), issuer.sign(&with("jti", json!("t-2"))));
    assert_eq!(code(&world, &one).await, tonic::Code::Ok);
    let mut admin = AdminServiceClient::new(keyed(&world, "admin"));
    let request = v1::RevokeCredentialRequest { id: "jwt:t-1".into(), reason: String::new() };
    soon(admin.revoke_credential(request)).await.unwrap();
    assert_eq!(code(&world, &one).await, tonic::Code::Unauthenticated);
    assert_eq!(code(&world, &other).await, tonic::Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_changed_with_the_file() {
    let (credentials, old, new) = (Credentials::usual(), Issuer::new("k1"), Issuer::new("k2"));
    let world = World::with(config(&credentials, &[&old])).await;
    let (of_old, of_new) = (old.sign(&claims()), new.sign(&with("jti", json!("t-2"))));
    assert_eq!(code(&world, &of_new).await, tonic::Code::Unauthenticated);
    let mut watching = TaskServiceClient::new(with_token(&world, &of_old));
    let mut watch = soon(watching.watch(v1::WatchRequest::default())).await.unwrap().into_inner();
    config(&credentials, &[&new]);
    assert_eq!(soon(watch.message()).await.unwrap_err().code(), tonic::Code::Unauthenticated);
    assert_eq!(code(&world, &of_old).await, tonic::Code::Unauthenticated);
    assert_eq!(code(&world, &of_new).await, tonic::Code::Ok);
}
