//! What the manager wants done: records for the store, orders for agents, decisions for the actuator.

use std::{collections::VecDeque, sync::Arc};

use actix::{Addr, Message};
use evenkeel_core::{
    engine::AdminCommand,
    manager::change::Step,
    model::{Notice, Record},
};
use evenkeel_shared::Error;
use tokio::runtime::Handle;

use super::{ManagerActor, ManagerParts};
use crate::{actuators::Actuator, gateway::Gateway};

/// Records in one event for the engine, so that a large fleet's measurements do not fill one transaction: some milliseconds.
const KEEP_RECORDS_MAX: usize = 256;

/// Who does what a change of the fleet's size asks for.
pub(super) struct Actuating {
    actuator: Arc<dyn Actuator>,
    runtime: Handle,
}

impl Actuating {
    pub(super) fn of(parts: &ManagerParts) -> Self {
        Self { actuator: Arc::clone(&parts.actuator), runtime: parts.runtime.clone() }
    }

    pub(super) async fn take(&self, step: Step, gateway: &Gateway, manager: &Addr<ManagerActor>) {
        let (agent, command, reason) = match step {
            Step::Drain { agent, within, reason } => (agent, AdminCommand::Drain(Some(within)), reason),
            Step::Resume(agent) => (agent, AdminCommand::Resume, String::new()),
            Step::Act(decision) => {
                let (actuator, manager) = (Arc::clone(&self.actuator), manager.clone());
                self.runtime.spawn(async move {
                    let result = actuator.scale(&decision).await.map_err(|error| error.to_string());
                    // Without the manager nobody wants to know; it begins again from what it sees.
                    let _ = manager.try_send(Acted { decision: decision.id, result });
                });
                return;
            }
        };
        if let Err(error) = gateway.admin(agent.clone(), command, reason).await {
            // An agent that is gone needs no order; any other lost order shows, since the agent does not do as it says.
            tracing::debug!(%agent, %error, "an agent that the fleet's size is about could not be told");
        }
    }
}

/// The actuator has answered.
pub(super) struct Acted {
    pub(super) decision: u64,
    pub(super) result: Result<(), String>,
}

impl Message for Acted {
    type Result = ();
}

/// Stores records, some at a time, and says the notices with the last of them. Answers with what is left.
pub(super) async fn keep(
    gateway: &Gateway,
    mut records: VecDeque<Record>,
    notices: Vec<Notice>,
) -> (VecDeque<Record>, Result<(), Error>) {
    let mut notices = Some(notices);
    while !records.is_empty() || notices.is_some() {
        let chunk: Vec<Record> = records.drain(..records.len().min(KEEP_RECORDS_MAX)).collect();
        let said = if records.is_empty() { notices.take() } else { None };
        if let Err(error) = gateway.keep(chunk.clone(), said.unwrap_or_default()).await {
            for record in chunk.into_iter().rev() {
                records.push_front(record);
            }
            return (records, Err(error));
        }
    }
    (records, Ok(()))
}
