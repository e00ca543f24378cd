//! Traces, and where they are sent.

use std::time::Duration;

use evenkeel_shared::{
    Violation,
    otlp::{Settings, StartError, endpoint_from_environment, is_disabled},
};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Traces, and where they are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The collector of OpenTelemetry that spans are sent to by OTLP over gRPC, such as `http://127.0.0.1:4317`. Default:
    /// none, and no spans are made. The variables `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and `OTEL_EXPORTER_OTLP_ENDPOINT` name
    /// it too.
    pub otlp_endpoint: Option<String>,
    /// Share of the tasks that are traced, of those that come without a decision of their client's, 0 to 1. Default 0.01.
    pub sample_ratio: f64,
    /// Tasks traced a second, at most, whatever their clients decided. 1 to 100,000. Default 100: each makes some ten spans.
    pub traced_per_s_max: u32,
    /// Spans that wait to be sent; further ones are dropped, and counted. 1 to 262,144. Default 8,192.
    pub queue_spans_max: usize,
    /// Longest wait for the collector's answer, in milliseconds. 1 to 60,000. Default 10,000.
    pub export_timeout_ms: u64,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sample_ratio: 0.01,
            traced_per_s_max: 100,
            queue_spans_max: 8_192,
            export_timeout_ms: 10_000,
        }
    }
}

impl TelemetryConfig {
    /// Where spans go; `None`: nowhere, because no collector is named or `OTEL_SDK_DISABLED` is true.
    #[must_use]
    pub fn settings(&self) -> Option<Settings> {
        Some(Settings {
            endpoint: self.otlp_endpoint.clone().or_else(endpoint_from_environment).filter(|_| !is_disabled())?,
            queue_spans_max: self.queue_spans_max,
            timeout: Duration::from_millis(self.export_timeout_ms),
        })
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if let Some(Err(StartError::Endpoint { endpoint, problem })) = self.settings().map(|it| it.check()) {
            let what = format!("is `{endpoint}`, and {problem}; write it as http://127.0.0.1:4317");
            return Err(Violation::new("telemetry.otlp_endpoint", what).into());
        }
        Ok(())
    }
}
