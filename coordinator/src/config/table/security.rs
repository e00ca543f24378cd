//! Settings of certificates, credentials and the audit log.

use super::super::{
    auth::JWT_ALGORITHMS,
    setting::{Kind, Setting},
};

/// Rates and numbers beyond this are mistakes: nobody makes so many calls.
const RATE_MAX: u64 = 100_000_000;

pub const TLS: &[Setting] = &[
    Setting::new(
        "tls.cert_file",
        Kind::Path,
        "The certificate of the coordinator, and those between it and its authority, in PEM; empty: no TLS. Read again when it \
         changes; whether there is TLS at all is settled at the start.",
    ),
    Setting::new("tls.key_file", Kind::Path, "Its key, in PEM (PKCS #8, PKCS #1 or SEC1). Read again when it changes."),
    Setting::new(
        "tls.client_ca_file",
        Kind::Path,
        "The authorities that certificates of agents and clients may be of, in PEM. Read again when it changes.",
    ),
    Setting::new(
        "tls.client_certificates",
        Kind::Word(&["off", "optional", "required"]),
        "Whether agents and clients show certificates of their own: off, optional (those that are shown have to be good), or \
         required (on both ports).",
    ),
    Setting::switch("tls.http", "Whether the HTTP port speaks TLS too."),
    Setting::count("tls.reload_interval_ms", 100, 3_600_000, "Between two looks at the files of certificates.")
        .of("ms"),
];

pub const AUTH: &[Setting] = &[
    Setting::switch(
        "auth.enabled",
        "Whether callers have to show who they are. Off, whoever reaches a port may do everything.",
    )
    .live(),
    Setting::new(
        "auth.credentials_file",
        Kind::Path,
        "The file of tokens and revocations, in TOML; empty: no tokens. Read again when it changes.",
    )
    .live(),
    Setting::switch(
        "auth.certificates",
        "Whether a client certificate says who calls, by its name `evenkeel://ROLE/NAME`.",
    )
    .live(),
    Setting::switch("auth.metrics_open", "Whether `/metrics` needs no credentials.").live(),
    Setting::count(
        "auth.client_calls_per_s",
        0,
        RATE_MAX,
        "Calls of one client, by its name; agents' sessions do not count. 0: as many as it likes.",
    )
    .of("1/s")
    .live(),
    Setting::count("auth.client_calls_burst", 1, RATE_MAX, "Calls that a client that was quiet may make at once.")
        .live(),
    Setting::count(
        "auth.client_calls_open_max",
        1,
        RATE_MAX,
        "Calls of one client that are under way at a time, its streams included.",
    )
    .live(),
    Setting::count(
        "auth.client_tasks_per_s",
        0,
        RATE_MAX,
        "Tasks submitted by one client. 0: as many as it likes.",
    )
    .of("1/s")
    .live(),
    Setting::count("auth.client_tasks_burst", 1, RATE_MAX, "Tasks that a client that was quiet may submit at once.")
        .live(),
    Setting::count(
        "auth.reload_interval_ms",
        100,
        5_000,
        "Between two looks at the files of credentials; short, since a revocation has to be in force within ten seconds.",
    )
    .of("ms")
    .live(),
    Setting::new(
        "auth.jwt.jwks_file",
        Kind::Path,
        "The public keys of the issuer, as a JSON web key set (RFC 7517); empty: no such tokens. Read again when it changes.",
    )
    .live(),
    Setting::new("auth.jwt.algorithm", Kind::Word(&JWT_ALGORITHMS), "The one algorithm that tokens are signed with.")
        .live(),
    Setting::new("auth.jwt.issuer", Kind::Text, "What `iss` has to be; needed with a key set.").live(),
    Setting::new("auth.jwt.audience", Kind::Text, "What `aud` has to be, or have in it; needed with a key set.")
        .live(),
    Setting::new("auth.jwt.roles_claim", Kind::Text, "The claim with the roles: a list, or words with spaces between.")
        .live(),
    Setting::new("auth.jwt.tenant_claim", Kind::Text, "The claim with the one tenant.").live(),
    Setting::new(
        "auth.jwt.agent_ids_claim",
        Kind::Text,
        "The claim with the ids that an agent may register under; without it an agent registers under `sub`.",
    )
    .live(),
    Setting::count("auth.jwt.leeway_ms", 0, 300_000, "How far clocks may be apart.").of("ms").live(),
];

pub const AUDIT: &[Setting] = &[
    Setting::count(
        "audit.file_bytes_max",
        64 << 10,
        1 << 30,
        "Bytes of a file of the audit log after which the next begins.",
    )
    .of("bytes"),
    Setting::count("audit.files_max", 2, 10_000, "Files of the audit log that are kept; the oldest go."),
];
