//! What operators see of the certificates: a number to alert by, and a part of the coordinator's health.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio_util::task::AbortOnDropHandle;

use super::{ALPN_GRPC, CertificateStatus, Tls, keep_current, load};
use crate::{
    config::{Problem, live::LiveConfig},
    health::{Board, Component, Finding, Level},
    metrics::{
        Metrics,
        rows::{Row, Sort},
    },
};

/// A certificate that ends so soon should have been renewed: tools that renew do so with a third of ninety days left.
const SOON_S: i64 = 7 * 86_400;

impl Tls {
    /// Shows the certificates in the metrics and in the coordinator's health, and keeps them as the files have them until what
    /// is returned is dropped.
    pub fn run(&self, config: &LiveConfig, metrics: &Metrics, board: &Board) -> AbortOnDropHandle<()> {
        let shown = self.clone();
        let name = "certificate_expiry_timestamp_seconds";
        let help = "When the first of the coordinator's own certificates ends, in seconds since 1970.";
        metrics.add(Row::one((name, help, Sort::Gauge), move || shown.status().expires_unix_s as f64));
        let shown = self.clone();
        board.probe(Component::Certificates, Arc::new(move || finding(&shown.status(), now_unix_s())));
        config.check_with(Box::new(|config| {
            let made = if config.tls.is_on() {
                load(&config.tls).and_then(|files| files.server_config(ALPN_GRPC)).map(drop)
            } else {
                Ok(())
            };
            made.map_err(|error| Problem::new("tls.cert_file", error.to_string(), None))
        }));
        AbortOnDropHandle::new(tokio::spawn(keep_current(self.clone(), config.subscribe())))
    }
}

/// How certificates are of which this is known.
#[must_use]
pub fn finding(status: &CertificateStatus, now_unix_s: i64) -> Finding {
    let left_s = status.expires_unix_s - now_unix_s;
    let finding = match left_s {
        ..=0 => Finding::of(Level::Unhealthy, "the certificate has expired: nobody can connect"),
        1..=SOON_S => Finding::of(Level::Degraded, format!("the certificate expires in {} hours", left_s / 3_600)),
        _ => Finding::healthy(),
    };
    let mut finding = finding.with("expires_in_seconds", left_s as f64).exactly();
    if let Some(problem) = &status.problem {
        finding.level = finding.level.max(Level::Degraded);
        finding.reasons.push(format!("what is in the files is not in force: {problem}"));
    }
    finding
}

pub(super) fn now_unix_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(left_s: i64, problem: Option<&str>) -> Finding {
        let status = CertificateStatus { expires_unix_s: 1_000 + left_s, problem: problem.map(str::to_owned) };
        finding(&status, 1_000)
    }

    #[test]
    fn a_certificate_is_worse_the_less_is_left_of_it() {
        assert_eq!(of(SOON_S + 1, None).level, Level::Healthy);
        assert_eq!(of(SOON_S, None).level, Level::Degraded);
        assert_eq!(of(1, None).reasons, ["the certificate expires in 0 hours"]);
        assert_eq!(of(0, None).level, Level::Unhealthy);
    }

    #[test]
    fn files_that_are_not_in_force_are_said_beside() {
        let finding = of(SOON_S * 2, Some("no key"));
        assert_eq!(finding.level, Level::Degraded);
        assert_eq!(finding.reasons, ["what is in the files is not in force: no key"]);
        assert_eq!(of(-1, Some("no key")).level, Level::Unhealthy);
    }
}
