//! What tokio says of the runtime that the services run on. What it calls unstable would need a build with `--cfg
//! tokio_unstable` for everybody; what is stable says whether the workers are saturated, which is what it is read for.

use std::fmt;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use tokio::runtime::RuntimeMetrics;

use super::rows::{
    Sort::{Counter, Gauge},
    one,
};

/// A runtime.
#[derive(Clone, Debug)]
pub struct Runtime(pub RuntimeMetrics);

impl Collector for Runtime {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metrics = &self.0;
        let mut gauge = |name, help, value: usize| one(&mut encoder, name, help, Gauge, value as f64);
        gauge("runtime_workers", "Threads that run the services' tasks.", metrics.num_workers())?;
        gauge(
            "runtime_tasks_alive",
            "Tasks of the services, one or two for each connection.",
            metrics.num_alive_tasks(),
        )?;
        let help = "Tasks that wait for a worker; more than some for long means that all workers are busy.";
        gauge("runtime_global_queue_depth", help, metrics.global_queue_depth())?;
        #[cfg(target_has_atomic = "64")]
        {
            let workers = 0..metrics.num_workers();
            let busy: f64 = workers.map(|worker| metrics.worker_total_busy_duration(worker).as_secs_f64()).sum();
            one(&mut encoder, "runtime_busy_seconds", "Time that the workers were at work.", Counter, busy)?;
        }
        Ok(())
    }
}
