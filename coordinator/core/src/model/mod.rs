//! What the core knows, as plain data: events of tasks and agents, what is recovered from a store, what is shown.

pub mod history;
pub mod notice;
pub mod record;
pub mod recovery;
pub mod transitions;
pub mod view;

pub use history::{ClusterEvent, ClusterEventKind, TaskEvent, TaskEventKind};
pub use notice::Notice;
pub use record::{
    AllocationRecord, BudgetShare, BudgetSpent, CostEntry, Declaration, DeclarationKind, Record, ScalingRecord,
    UsageSample,
};
pub use recovery::{RecoveredAdmin, RecoveredState, RecoveredTask, Recovery};
pub use view::{AgentView, Candidate, EngineStatus, Explanation, KindStatistics};
