//! A distribution of times, in the two forms that scrapers take.
//!
//! As text it has fixed buckets, each with the trace of the last task or call that fell into it (an exemplar). As protobuf it
//! has native buckets (a tenth wide, made where they are needed) beside them, which the text format has no words for.
//! The library knows no histogram with both, so there are two, each in the registry of its form; an observation costs two
//! uncontended locks.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        exemplar::HistogramWithExemplars,
        family::{Family, MetricConstructor},
        histogram::{Histogram, NativeHistogramConfig, exponential_buckets},
    },
};

use super::registries::Registries;

/// Native buckets of one series; beyond it they are made wider. Times from a microsecond to a day have 270 at most.
const NATIVE_BUCKETS_MAX: usize = 160;

/// Which trace an observation belongs to: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TraceLabel {
    trace_id: String,
}

/// Fixed buckets: the first one's bound in seconds, each twice the one before, so many.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// The bound of the first.
    pub first_seconds: f64,
    /// How many.
    pub count: u16,
}

impl Buckets {
    fn bounds(self) -> impl Iterator<Item = f64> {
        exponential_buckets(self.first_seconds, 2.0, self.count)
    }
}

impl MetricConstructor<HistogramWithExemplars<TraceLabel>> for Buckets {
    fn new_metric(&self) -> HistogramWithExemplars<TraceLabel> {
        HistogramWithExemplars::new(self.bounds())
    }
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        let native = NativeHistogramConfig::default().max_buckets(NATIVE_BUCKETS_MAX);
        Histogram::new_classic_and_native(self.bounds(), native)
    }
}

/// A distribution of times. Clones share it.
#[derive(Clone, Debug)]
pub struct Latency {
    text: HistogramWithExemplars<TraceLabel>,
    native: Histogram,
}

impl Latency {
    /// One without labels.
    pub fn register(registries: &mut Registries, name: &str, help: &str, buckets: Buckets) -> Self {
        let made = Self { text: buckets.new_metric(), native: buckets.new_metric() };
        registries.each(name, help, made.text.clone(), made.native.clone());
        made
    }

    /// A time, and the trace of what took so long.
    pub fn observe(&self, seconds: f64, trace_id: Option<String>) {
        self.text.observe(seconds, trace_id.map(|trace_id| TraceLabel { trace_id }), None);
        self.native.observe(seconds);
    }
}

/// Distributions by label.
#[derive(Clone)]
pub struct Latencies<L: Clone + std::hash::Hash + Eq> {
    text: Family<L, HistogramWithExemplars<TraceLabel>, Buckets>,
    native: Family<L, Histogram, Buckets>,
}

impl<L> Latencies<L>
where
    L: EncodeLabelSet + Clone + std::fmt::Debug + std::hash::Hash + Eq + Send + Sync + 'static,
{
    /// None yet.
    pub fn register(registries: &mut Registries, name: &str, help: &str, buckets: Buckets) -> Self {
        let made = Self { text: Family::new_with_constructor(buckets), native: Family::new_with_constructor(buckets) };
        registries.each(name, help, made.text.clone(), made.native.clone());
        made
    }

    /// The one of this label.
    pub fn of(&self, label: &L) -> Latency {
        Latency { text: self.text.get_or_create(label).clone(), native: self.native.get_or_create(label).clone() }
    }
}
