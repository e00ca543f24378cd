//! What tasks of a kind reserve, whatever their clients ask for.
//!
//! A client guesses what its tasks need, and guesses once; what they use is measured. A *request size* puts the second in the place
//! of the first, when a task is accepted: what the Vertical Pod Autoscaler of Kubernetes does to pods at their admission.
//!
//! - It is of a kind, and takes the place of processor and memory alone. Slots and named resources say what a task *is*, and nobody
//!   measures them; label rules say where it may run.
//! - What may be used stays what the client said ([`evenkeel_shared::TaskBudget`]): a size moves the room that is set aside, and no
//!   bound that an agent enforces. More memory than a task may use is not set aside for it.
//! - It holds for tasks that are accepted while it is in force. What a task reserves is written with it and stays, through retries and
//!   restarts, whatever becomes of the size: an agent has been told of it, and both must count the same. Rejected: to size anew
//!   what waits. It would be a scan of the queue, and a task would mean something else from one moment to the next.
//! - What was asked for is kept beside it, shown, and what an idempotency key is compared with: the same submission is the same
//!   task, before a size and after.
//!
//! Rejected: a share of what was asked for (`half of it`) in the place of an amount. Whoever asks for too much would ask for twice as
//! much next time; and what is measured is an amount.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_shared::{
    Asked, Kind, TaskSpec, Violation,
    units::{cores, memory},
};
use serde::{Deserialize, Serialize};

/// Sizes that there may be: kinds that an operator can still look through.
pub const SIZES_MAX: usize = 1_000;
/// Most processor of a size, in thousandths of a core. Beyond it a number is a mistake of units.
pub const CPU_MILLIS_MAX: u64 = 10_000_000;
/// Least memory of a size: no program runs in less, so a smaller number is a mistake of units.
pub const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Most memory of a size, for the same reason.
pub const MEMORY_BYTES_MAX: u64 = 1 << 50;

/// A resource that can have a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizedResource {
    /// Processor, in thousandths of a core.
    CpuMillis,
    /// Memory, in bytes.
    MemoryBytes,
}

impl SizedResource {
    /// An amount of it, for people.
    #[must_use]
    pub fn in_words(self, amount: u64) -> String {
        match self {
            Self::CpuMillis => cores(amount),
            Self::MemoryBytes => format!("{} of memory", memory(amount)),
        }
    }
}

/// What tasks of a kind reserve. `None`: what they ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// The kind.
    pub kind: Kind,
    /// Thousandths of a core, 1 to [`CPU_MILLIS_MAX`].
    pub cpu_millis: Option<u64>,
    /// Bytes, [`MEMORY_BYTES_MIN`] to [`MEMORY_BYTES_MAX`].
    pub memory_bytes: Option<u64>,
}

impl Size {
    /// A size that says nothing yet.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        Self { kind, cpu_millis: None, memory_bytes: None }
    }

    /// Whether it says nothing: then it is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cpu_millis.is_none() && self.memory_bytes.is_none()
    }

    /// What it says of a resource.
    #[must_use]
    pub const fn get(&self, resource: SizedResource) -> Option<u64> {
        match resource {
            SizedResource::CpuMillis => self.cpu_millis,
            SizedResource::MemoryBytes => self.memory_bytes,
        }
    }

    /// The same with another amount of a resource.
    #[must_use]
    pub const fn with(mut self, resource: SizedResource, amount: Option<u64>) -> Self {
        match resource {
            SizedResource::CpuMillis => self.cpu_millis = amount,
            SizedResource::MemoryBytes => self.memory_bytes = amount,
        }
        self
    }

    /// Checks what its type does not.
    ///
    /// # Errors
    /// The field at fault.
    pub fn validate(&self) -> Result<(), Violation> {
        if self.is_empty() {
            return Err(Violation::new("size.memory_bytes", "or `cpu_millis` must be set: it says nothing"));
        }
        if self.cpu_millis.is_some_and(|cpu| !(1..=CPU_MILLIS_MAX).contains(&cpu)) {
            return Err(Violation::new("size.cpu_millis", format!("must be 1 to {CPU_MILLIS_MAX}")));
        }
        if self.memory_bytes.is_some_and(|bytes| !(MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX).contains(&bytes)) {
            let range = format!("must be {MEMORY_BYTES_MIN} (1 MiB) to {MEMORY_BYTES_MAX} (1 PiB)");
            return Err(Violation::new("size.memory_bytes", range));
        }
        Ok(())
    }

    /// What it says, for people: `0.5 cores and 512 MiB of memory`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let said = |resource: SizedResource| self.get(resource).map(|amount| resource.in_words(amount));
        let parts: Vec<String> =
            [SizedResource::CpuMillis, SizedResource::MemoryBytes].into_iter().filter_map(said).collect();
        parts.join(" and ")
    }
}

/// The sizes in force, each with its version. See the module.
#[derive(Debug, Default)]
pub struct Sizes(BTreeMap<Kind, (Size, u64)>);

impl Sizes {
    /// Whether no size of another kind may be put: there are [`SIZES_MAX`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= SIZES_MAX
    }

    /// The size of a kind.
    #[must_use]
    pub fn get(&self, kind: &Kind) -> Option<&Size> {
        self.0.get(kind).map(|(size, _)| size)
    }

    /// The same with its version.
    #[must_use]
    pub fn entry(&self, kind: &Kind) -> Option<&(Size, u64)> {
        self.0.get(kind)
    }

    /// All of them with their versions, by kind.
    pub fn iter(&self) -> impl Iterator<Item = &(Size, u64)> {
        self.0.values()
    }

    /// Puts a size in force, or replaces the one of its kind.
    pub fn put(&mut self, size: Size, version: u64) {
        self.0.insert(size.kind.clone(), (size, version));
    }

    /// Removes the size of a kind; false: there is none.
    pub fn remove(&mut self, kind: &Kind) -> bool {
        self.0.remove(kind).is_some()
    }

    /// The task as it is accepted now: with what it reserves, and beside it what its client asked for, if that is something else.
    #[must_use]
    pub fn sized(&self, spec: Arc<TaskSpec>) -> Arc<TaskSpec> {
        let Some((size, version)) = self.0.get(&spec.kind) else { return spec };
        let asked = &spec.requirements.resources;
        let may_use = spec.budget.as_deref().and_then(|budget| budget.memory_max_bytes).unwrap_or(u64::MAX);
        let cpu_millis = size.cpu_millis.unwrap_or(asked.cpu_millis);
        let memory_bytes = size.memory_bytes.map_or(asked.memory_bytes, |bytes| bytes.min(may_use));
        if (cpu_millis, memory_bytes) == (asked.cpu_millis, asked.memory_bytes) {
            return spec;
        }
        let mut spec = Arc::unwrap_or_clone(spec);
        let reserved = &mut spec.requirements.resources;
        let asked =
            Asked { cpu_millis: reserved.cpu_millis, memory_bytes: reserved.memory_bytes, size_version: *version };
        (reserved.cpu_millis, reserved.memory_bytes) = (cpu_millis, memory_bytes);
        spec.asked = Some(Box::new(asked));
        Arc::new(spec)
    }
}

#[cfg(test)]
mod tests;
