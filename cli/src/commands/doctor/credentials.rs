//! What the coordinator shows of itself, and what it knows of others: certificates and files of credentials.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use evenkeel_coordinator::{
    CoordinatorConfig,
    health::Level,
    security::{
        files::Files,
        tls::{Tls, finding},
    },
};

use super::Check;

/// All of them; none where neither TLS nor authentication is on.
pub fn checks(config: &CoordinatorConfig) -> Vec<Check> {
    let mut checks = Vec::new();
    if config.tls.is_on() {
        checks.push(certificates(config));
        checks.extend(key(&config.tls.key_file));
    }
    if config.auth.enabled {
        checks.push(match Files::read(&config.auth) {
            Ok(_) => Check::ok("credentials", "the files of credentials can be read"),
            Err(error) => Check::failure("credentials", error.to_string(), "the coordinator does not start like that"),
        });
    }
    checks
}

fn certificates(config: &CoordinatorConfig) -> Check {
    let remedy = "put another in its place; it is taken up within seconds (docs/tls.md)";
    let status = match Tls::new(&config.tls) {
        Ok(Some(tls)) => tls.status(),
        Ok(None) => return Check::ok("certificates", "TLS is off"),
        Err(error) => return Check::failure("certificates", error.to_string(), "see docs/tls.md"),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let found = finding(&status, i64::try_from(now).unwrap_or(i64::MAX));
    let what = format!("{}: {}", config.tls.cert_file.display(), found.reasons.join("; "));
    match found.level {
        Level::Healthy => Check::ok("certificates", format!("{} is good", config.tls.cert_file.display())),
        Level::Degraded => Check::warning("certificates", what, remedy),
        Level::Unhealthy => Check::failure("certificates", what, remedy),
    }
}

/// A key that others may read is theirs too.
fn key(file: &Path) -> Option<Check> {
    let mode = fs::metadata(file).ok()?.permissions().mode();
    let what = format!("{} has mode {:03o}", file.display(), mode & 0o777);
    Some(if mode & 0o007 != 0 {
        Check::warning("key permissions", format!("{what}: everybody may use it"), "chmod o=, and make a new key")
    } else {
        Check::ok("key permissions", what)
    })
}
