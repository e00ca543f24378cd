//! How large the fleet should be: demand, policies, decisions, and which agents go.
//!
//! Each second the manager tells [`Meter`] what the fleet looks like, hands the [`Load`] that it yields to
//! [`Scaler::decide`], and has a [`Verdict`]: how many agents are wanted, and why, in typed [`Reason`]s. If that is a change,
//! the manager tells [`Scaler::changed`] once it has passed it on; a scale-down names its agents by [`drain::choose`].
//! Nothing here starts or stops anything.
//!
//! Two questions are asked of each moment, and it takes one of them to grow but both to shrink (the largest proposal wins,
//! as in the Kubernetes autoscaler):
//!
//! - *Demand*: how many agents would carry the work that there is, at the utilisation that is aimed at ([`demand`])?
//! - *Score*: how strained is the fleet, over all metrics that the policy weighs ([`score`])?
//!
//! A score alone was rejected: agents that wait for a model server have idle processors and full slots, and a mean over
//! metrics hides the one that is used up. Demand alone was rejected as well: it knows nothing of memory, errors or
//! latency that grows with load.

pub mod demand;
pub mod drain;
pub mod effect;
pub mod foresight;
pub mod history;
pub mod meter;
pub mod policy;
pub mod proposal;
pub mod record;
pub mod scaler;
pub mod score;
pub mod templates;
pub mod validate;
pub mod verdict;

pub use demand::{Demand, Foreseen, Load};
pub use drain::{Chosen, DrainCosts};
pub use effect::Effect;
pub use meter::{Meter, Observation};
pub use policy::{MetricWeight, Override, Policy, Rules, ScalingMetric};
pub use record::{Decision, ScalingOutcome};
pub use scaler::Scaler;
pub use score::{Score, ScoredMetric};
pub use templates::{TEMPLATES, Template};
pub use validate::{Advice, validate};
pub use verdict::{Action, Hold, Reason, Verdict};

#[cfg(test)]
mod tests;
