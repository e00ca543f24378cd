//! What a caller may submit and see: of its tenant, if it is bound to one, and with contents or without.
//!
//! A task of another tenant is answered like one that is not there, in the same words and after the same look into the store,
//! although the directory has it at hand: otherwise the time that an answer takes would tell which ids exist.

use std::sync::Arc;

use evenkeel_proto::v1;
use evenkeel_shared::{Code, Error, TaskId, Tenant};
use tonic::Extensions;

use crate::{
    gateway::Gateway,
    security::{self, Caller, gate::Account},
};

/// Tasks looked up in the store at a time.
const STORE_CHUNK: usize = 256;

/// What a caller may submit and see.
#[derive(Clone)]
pub struct Scope {
    caller: Arc<Caller>,
    account: Option<Arc<Account>>,
}

impl Scope {
    /// That of whoever makes a request.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        Self { caller: security::caller(extensions), account: extensions.get::<Arc<Account>>().cloned() }
    }

    /// Whether payloads and outputs are shown.
    #[must_use]
    pub fn sees_contents(&self) -> bool {
        self.caller.sees_contents()
    }

    /// So many tasks are to be submitted.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if the caller submits too fast. Nothing was written.
    pub fn submits(&self, tasks: usize) -> Result<(), Error> {
        self.account.as_ref().map_or(Ok(()), |account| account.submits(tasks))
    }

    /// Makes a task one of the caller's tenant, if it says none.
    ///
    /// # Errors
    /// PERMISSION_DENIED if it is one of another.
    pub fn claim(&self, task: &mut v1::TaskSpec) -> Result<(), Error> {
        self.claim_name(&mut task.tenant)
    }

    /// Makes the tenant that is asked for the caller's, if none is named.
    ///
    /// # Errors
    /// PERMISSION_DENIED if it is another.
    pub fn claim_name(&self, tenant: &mut String) -> Result<(), Error> {
        let Some(own) = &self.caller.tenant else { return Ok(()) };
        if tenant.is_empty() {
            own.as_str().clone_into(tenant);
        }
        if tenant == own.as_str() {
            return Ok(());
        }
        Err(Error::new(Code::PermissionDenied, format!("these credentials are for the tenant `{own}` alone")))
    }

    /// Whether all of these are tasks that the caller may know of. Those that nobody knows are not.
    ///
    /// # Errors
    /// NOT_FOUND for the first that is not.
    pub async fn check(&self, gateway: &Gateway, tasks: &[TaskId]) -> Result<(), Error> {
        match self.split(gateway, tasks).await?.1.first() {
            None => Ok(()),
            Some(task) => {
                gateway.directory.missed();
                Err(Error::not_found("task", task.to_string()))
            }
        }
    }

    /// Those that the caller may know of, and the others.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn split(&self, gateway: &Gateway, tasks: &[TaskId]) -> Result<(Vec<TaskId>, Vec<TaskId>), Error> {
        let Some(own) = &self.caller.tenant else { return Ok((tasks.to_vec(), Vec::new())) };
        let is_at_hand = |task: &TaskId| gateway.directory.get(*task).is_some_and(|known| known.spec().tenant == *own);
        let (mut seen, asked): (Vec<TaskId>, Vec<TaskId>) = tasks.iter().partition(|task| is_at_hand(task));
        let mut unseen = Vec::new();
        for chunk in asked.chunks(STORE_CHUNK) {
            let ids = chunk.to_vec();
            let tenants = gateway.reads.ask(move |store| {
                let tenant = |id: &TaskId| Ok(store.task(*id)?.map(|task| task.spec.tenant.clone()));
                ids.iter().map(tenant).collect::<Result<Vec<Option<Tenant>>, _>>()
            });
            for (task, tenant) in chunk.iter().zip(tenants.await?) {
                if tenant.as_ref() == Some(own) { seen.push(*task) } else { unseen.push(*task) }
            }
        }
        Ok((seen, unseen))
    }
}
