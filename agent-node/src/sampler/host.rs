//! Samples the real machine.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use sysinfo::{MemoryRefreshKind, Networks, System};
use tracing::warn;

use super::{HostLimits, HostLoad, Sampler, cgroup::Cgroup};

/// Time between samples: short beside any heartbeat interval, and long enough to average over scheduler ticks.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Measures this host, or the container that the process runs in.
#[derive(Debug)]
pub struct HostSampler {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    load: HostLoad,
    over: bool,
}

impl Shared {
    /// A poisoned lock still holds a whole sample: nothing that can panic happens under it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostSampler {
    /// The sampler of this process; it lives, with its thread, as long as anybody uses it.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<HostSampler>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let sampler = Arc::new(Self::start());
            *shared = Arc::downgrade(&sampler);
            sampler
        })
    }

    /// What this host, or the container that the process runs in, may use.
    #[must_use]
    pub fn limits() -> HostLimits {
        let cgroup = Cgroup::own();
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let host_memory_bytes = memory().map_or(0, |system| system.total_memory());
        HostLimits {
            cpu_millis: cgroup.cpu_millis().unwrap_or(u64::MAX).min(cores * 1_000),
            memory_bytes: match cgroup.memory_bytes() {
                Some(limit) if host_memory_bytes > 0 => limit.min(host_memory_bytes),
                Some(limit) => limit,
                None => host_memory_bytes,
            },
        }
    }

    fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let spawned = thread::Builder::new().name("evenkeel-load".into()).spawn(move || sample(&of_thread));
        if let Err(error) = spawned {
            warn!(%error, "no thread to sample the host's load with; heartbeats will say 0");
        }
        Self { shared }
    }
}

impl Sampler for HostSampler {
    fn load(&self) -> HostLoad {
        self.shared.state().load
    }
}

impl Drop for HostSampler {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.wake.notify_all();
    }
}

/// Samples until the sampler is dropped.
fn sample(shared: &Shared) {
    let mut meter = Meter::new();
    loop {
        let load = meter.read();
        let mut state = shared.state();
        state.load = load;
        let waited = shared.wake.wait_timeout_while(state, SAMPLE_INTERVAL, |state| !state.over);
        if waited.map_or(true, |(state, _)| state.over) {
            return;
        }
    }
}

fn memory() -> Option<System> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    Some(system)
}

/// The counters of the last reading, from which rates are made.
struct Meter {
    cgroup: Cgroup,
    limits: HostLimits,
    system: Option<System>,
    networks: Option<Networks>,
    read_at: Instant,
    cpu_used_us: Option<u64>,
}

impl Meter {
    fn new() -> Self {
        let cgroup = Cgroup::own();
        let mut system = System::new().ok();
        if let Some(system) = &mut system {
            system.refresh_cpu_usage();
        }
        if system.is_none() {
            warn!("this system's processor and memory use cannot be read; heartbeats will say 0");
        }
        Self {
            cpu_used_us: cgroup.cpu_used_us(),
            limits: HostSampler::limits(),
            system,
            networks: Networks::new_with_refreshed_list().ok(),
            read_at: Instant::now(),
            cgroup,
        }
    }

    fn read(&mut self) -> HostLoad {
        let now = Instant::now();
        // The first reading follows at once on the one that it is compared with: there is no rate yet.
        let passed_s = now.duration_since(self.read_at).as_secs_f64().max(0.001);
        self.read_at = now;
        let memory_used_bytes = self.memory_used_bytes();
        let (network_rx_bytes_per_s, network_tx_bytes_per_s) = self.network(passed_s);
        HostLoad {
            cpu_share: self.cpu_share(passed_s).clamp(0.0, 1.0),
            memory_share: share(memory_used_bytes, self.limits.memory_bytes),
            memory_used_bytes,
            network_rx_bytes_per_s,
            network_tx_bytes_per_s,
            load_average: System::load_average().map_or(0.0, |average| average.one),
        }
    }

    fn cpu_share(&mut self, passed_s: f64) -> f64 {
        let before = self.cpu_used_us;
        self.cpu_used_us = self.cgroup.cpu_used_us();
        if let (Some(now), Some(before)) = (self.cpu_used_us, before) {
            let cores_used = now.saturating_sub(before) as f64 / 1e6 / passed_s;
            return cores_used * 1e3 / self.limits.cpu_millis as f64;
        }
        let Some(system) = &mut self.system else { return 0.0 };
        system.refresh_cpu_usage();
        let share = f64::from(system.global_cpu_usage()) / 100.0;
        if share.is_finite() { share } else { 0.0 }
    }

    fn memory_used_bytes(&mut self) -> u64 {
        if let Some(used) = self.cgroup.memory_used_bytes() {
            return used;
        }
        let Some(system) = &mut self.system else { return 0 };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        system.total_memory().saturating_sub(system.available_memory())
    }

    fn network(&mut self, passed_s: f64) -> (f64, f64) {
        let Some(networks) = &mut self.networks else { return (0.0, 0.0) };
        networks.refresh(true);
        let outside = networks.iter().filter(|(name, _)| name.as_os_str() != "lo");
        let (rx, tx) = outside.fold((0, 0), |(rx, tx), (_, n)| (rx + n.received(), tx + n.transmitted()));
        (rx as f64 / passed_s, tx as f64 / passed_s)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_this_machine_are_more_than_nothing() {
        let limits = HostSampler::limits();
        assert!(limits.cpu_millis > 0 && limits.memory_bytes > 0, "{limits:?}");
    }

    #[test]
    fn a_reading_of_this_machine_has_memory_and_legal_shares() {
        let load = Meter::new().read();
        assert!(load.memory_used_bytes > 0);
        assert!((0.0..=1.0).contains(&load.memory_share) && (0.0..=1.0).contains(&load.cpu_share), "{load:?}");
    }

    #[test]
    fn agents_of_one_process_share_a_sampler_while_one_of_them_lives() {
        let first = HostSampler::shared();
        assert!(Arc::ptr_eq(&first, &HostSampler::shared()));
    }
}
