//! Numbers that others count, read at each scrape.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// How a number is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// It only grows; its name gets the suffix `_total`.
    Counter,
    /// It comes and goes.
    Gauge,
}

/// A label, and its value: one of a closed number.
pub type Label = (&'static str, String);

/// A metric that a part of the coordinator counts by itself.
#[derive(Clone)]
pub struct Row {
    /// Without prefix and without `_total`; its unit is the last part.
    pub name: &'static str,
    /// What it means, with a full stop.
    pub help: &'static str,
    /// How it is to be read.
    pub sort: Sort,
    /// Its values, each with its labels; none: it is left out.
    pub values: Arc<dyn Fn() -> Vec<(Vec<Label>, f64)> + Send + Sync>,
}

impl Row {
    /// A number without labels.
    pub fn one(
        (name, help, sort): (&'static str, &'static str, Sort),
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { name, help, sort, values: Arc::new(move || vec![(Vec::new(), value())]) }
    }
}

/// The rows of parts that are made after the metrics.
#[derive(Clone, Default)]
pub struct Rows(Arc<Mutex<Vec<Row>>>);

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl Rows {
    /// One more.
    pub fn add(&self, row: Row) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(row);
    }
}

impl Collector for Rows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for row in rows {
            many(&mut encoder, (row.name, row.help, row.sort), &(row.values)())?;
        }
        Ok(())
    }
}

/// Writes a number.
pub fn one(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, sort: Sort, value: f64) -> fmt::Result {
    match sort {
        Sort::Counter => {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        }
        Sort::Gauge => {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        }
    }
}

/// Writes numbers with labels.
pub fn many(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, sort): (&str, &str, Sort),
    values: &[(Vec<Label>, f64)],
) -> fmt::Result {
    if let [(labels, value)] = values
        && labels.is_empty()
    {
        return one(encoder, name, help, sort, *value);
    }
    if values.is_empty() {
        return Ok(());
    }
    let gauge = ConstGauge::new(0.0);
    let counter = ConstCounter::new(0.0);
    let kind = if sort == Sort::Counter { counter.metric_type() } else { gauge.metric_type() };
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        let encoder = family.encode_family(labels)?;
        match sort {
            Sort::Counter => ConstCounter::new(*value).encode(encoder)?,
            Sort::Gauge => ConstGauge::new(*value).encode(encoder)?,
        }
    }
    Ok(())
}
