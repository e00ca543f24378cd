//! The registries behind `/metrics`: one for the text form, one for protobuf. All is in both, most of it shared.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{
        prometheus_protobuf::{self, EncodeError},
        text,
    },
    registry::{Metric, Registry},
};

/// Before every name but those of the process, which all programs share.
const PREFIX: &str = "evenkeel";

/// The two registries, each with a part for names that have no prefix.
#[derive(Debug)]
pub struct Registries {
    text: [Registry; 2],
    native: [Registry; 2],
}

impl Default for Registries {
    fn default() -> Self {
        let made = || [Registry::with_prefix(PREFIX), Registry::default()];
        Self { text: made(), native: made() }
    }
}

impl Registries {
    /// A metric that is the same in both.
    pub fn both(&mut self, name: &str, help: &str, metric: impl Metric + Clone) {
        self.each(name, help, metric.clone(), metric);
    }

    /// A new metric that is the same in both.
    pub fn both_of<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.both(name, help, metric.clone());
        metric
    }

    /// A metric that each form has its own make of. The registry adds the full stop to the help text.
    pub fn each(&mut self, name: &str, help: &str, text: impl Metric, native: impl Metric) {
        self.text[0].register(name, help, text);
        self.native[0].register(name, help, native);
    }

    /// What is read at each scrape; it writes its own full stops.
    pub fn collector(&mut self, collector: impl Collector + Clone) {
        self.text[0].register_collector(Box::new(collector.clone()));
        self.native[0].register_collector(Box::new(collector));
    }

    /// The same, under names that have no prefix.
    pub fn bare_collector(&mut self, collector: impl Collector + Clone) {
        self.text[1].register_collector(Box::new(collector.clone()));
        self.native[1].register_collector(Box::new(collector));
    }

    /// As OpenMetrics text.
    pub fn open_metrics(&self) -> Result<String, fmt::Error> {
        let mut written = String::new();
        for registry in &self.text {
            text::encode_registry(&mut written, registry)?;
        }
        text::encode_eof(&mut written)?;
        Ok(written)
    }

    /// As messages of `io.prometheus.client.MetricFamily`, each after its length.
    pub fn protobuf(&self) -> Result<Vec<u8>, EncodeError> {
        let mut written = Vec::new();
        for registry in &self.native {
            written.append(&mut prometheus_protobuf::encode_to_vec(registry)?);
        }
        Ok(written)
    }
}
