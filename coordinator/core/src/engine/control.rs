//! The operator's commands about limits, breakers, quotas, request sizes, budgets and prices.
//!
//! What is declared takes effect at once and is stored, with its version and the reason, before it is answered. A command
//! that is refused has changed nothing.

use evenkeel_shared::{AssignmentId, Code, Error, Kind, Violation};
use serde::{Deserialize, Serialize};

use super::{
    Engine,
    effects::{Change, Effects, Message, Put, Reply},
    event::{ControlCommand, RequestId},
    gates::hint,
};
use crate::{
    admission::{Limit, limits::LIMITS_MAX},
    cost::{BUDGETS_MAX, Budget},
    model::{BudgetSpent, ClusterEventKind, Declaration, DeclarationKind, Record},
    sizing::Size,
};

/// A budget as it is stored: with the first assignment that may hold a part of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum StoredBudget {
    Since {
        since: AssignmentId,
        budget: Budget,
    },
    /// As earlier versions wrote it: all that runs holds a part of it.
    OfAll(Budget),
}

impl StoredBudget {
    fn parts(self) -> (Budget, AssignmentId) {
        match self {
            Self::Since { since, budget } => (budget, since),
            Self::OfAll(budget) => (budget, AssignmentId(0)),
        }
    }
}

/// What a command puts in force.
pub(super) enum Named {
    Limit(String),
    Size(Kind),
    Budget(String),
}

impl Named {
    fn by(command: &ControlCommand) -> Option<Self> {
        match command {
            ControlCommand::PutLimit(limit) => Some(Self::Limit(limit.name.clone())),
            ControlCommand::PutSize(size) => Some(Self::Size(size.kind.clone())),
            ControlCommand::PutBudget(budget) => Some(Self::Budget(budget.name.clone())),
            _ => None,
        }
    }
}

impl Engine {
    /// Does as the operator says. Answered here, but for what was put in force: that is shown at the end of the event, see
    /// [`Self::answer_put`].
    pub(super) fn control(
        &mut self,
        request: RequestId,
        command: ControlCommand,
        reason: String,
        out: &mut Effects,
    ) -> Option<(RequestId, Named)> {
        let puts = Named::by(&command);
        let answer = match command {
            ControlCommand::PutLimit(limit) => self.put_limit(limit, reason, out),
            ControlCommand::RemoveLimit(name) => self.remove_limit(&name, reason, out),
            ControlCommand::PutSize(size) => self.put_size(size, reason, out),
            ControlCommand::RemoveSize(kind) => self.remove_size(&kind, reason, out),
            ControlCommand::PutBudget(budget) => self.put_budget(budget, reason, out),
            ControlCommand::RemoveBudget(name) => self.remove_budget(&name, reason, out),
            ControlCommand::SetDynamicLimits(settings) => self.set_dynamic_limits(settings, reason, out),
            ControlCommand::ReportQuota(key, time) => self.report_quota(&key, time, &reason, out),
            ControlCommand::ClearQuota(key) => self.clear_quota(&key, out),
            ControlCommand::SetBreaker(id, order) => self.set_breaker(&id, order, &reason, out),
            ControlCommand::SetPrices(prices) => self.set_prices(prices, reason, out),
            ControlCommand::Configure(configure) => {
                self.configure(*configure, &reason, out);
                Ok(())
            }
        };
        if let (Ok(()), Some(put)) = (&answer, puts) {
            return Some((request, put));
        }
        out.messages.push(Message::Reply { request, reply: Reply::Done(answer) });
        None
    }

    /// Answers with what was put in force: with the command itself, so that it is this version and nobody else's.
    pub(super) fn answer_put(&self, request: RequestId, named: &Named, out: &mut Effects) {
        let put = match named {
            Named::Limit(name) => {
                let found = self.limit_views(self.now).into_iter().find(|(view, _)| view.limit.name == *name);
                found.map(|(view, waiting)| Put::Limit(view, waiting))
            }
            Named::Size(kind) => self.size_and_version(kind).map(|(size, version)| Put::Size(size, version)),
            Named::Budget(name) => self.budget_view(name, self.now).map(|(view, waiting)| Put::Budget(view, waiting)),
        };
        let reply = put.map_or(Reply::Done(Ok(())), |put| Reply::Put(Box::new(put)));
        out.messages.push(Message::Reply { request, reply });
    }

    fn put_limit(&mut self, limit: Limit, reason: String, out: &mut Effects) -> Result<(), Error> {
        limit.validate()?;
        let limits = &self.allocation.limits;
        let known = limits.find(&limit.name);
        if known.is_none() && limits.len() >= LIMITS_MAX {
            let message =
                format!("there are {LIMITS_MAX} limits; remove some, or use one for each tenant, kind or agent");
            return Err(Error::exhausted(message, super::limits::RETRY_AFTER));
        }
        let body = json("limit", &limit)?;
        let name = limit.name.clone();
        let verb = if known.is_some() { "changed" } else { "declared" };
        self.allocation.limits.put(self.now, limit);
        self.recount();
        self.declare(DeclarationKind::Limit, &name, Some(body), reason.clone(), out);
        self.announce(ClusterEventKind::Limit, None, because(format!("limit `{name}` was {verb}"), &reason), out);
        Ok(())
    }

    fn remove_limit(&mut self, name: &str, reason: String, out: &mut Effects) -> Result<(), Error> {
        if !self.allocation.limits.remove(name) {
            return Err(Error::not_found("limit", name));
        }
        self.recount();
        self.forget_notes("limit", name);
        self.declare(DeclarationKind::Limit, name, None, reason.clone(), out);
        self.announce(ClusterEventKind::Limit, None, because(format!("limit `{name}` was removed"), &reason), out);
        Ok(())
    }

    fn put_budget(&mut self, budget: Budget, reason: String, out: &mut Effects) -> Result<(), Error> {
        budget.validate()?;
        let ledger = &self.allocation.ledger;
        let known = ledger.get(&budget.name);
        if known.is_none() && ledger.is_full() {
            let message = format!("there are {BUDGETS_MAX} budgets; remove some");
            return Err(Error::exhausted(message, super::limits::RETRY_AFTER));
        }
        let verb = if known.is_some() { "changed" } else { "declared" };
        let since = ledger.since(&budget, self.numbers.next_assignment());
        let body = json("budget", &StoredBudget::Since { since, budget: budget.clone() })?;
        let name = budget.name.clone();
        let spent = self.allocation.ledger.put(self.now, budget, since, &[]);
        self.forget_needs(&name);
        self.declare(DeclarationKind::Budget, &name, Some(body), reason.clone(), out);
        out.changes.push(Change::Record(Box::new(Record::Spent(spent))));
        self.announce(ClusterEventKind::Budget, None, because(format!("budget `{name}` was {verb}"), &reason), out);
        self.budgets_changed();
        Ok(())
    }

    fn remove_budget(&mut self, name: &str, reason: String, out: &mut Effects) -> Result<(), Error> {
        if !self.allocation.ledger.remove(name) {
            return Err(Error::not_found("budget", name));
        }
        self.forget_notes("budget", name);
        self.declare(DeclarationKind::Budget, name, None, reason.clone(), out);
        self.announce(ClusterEventKind::Budget, None, because(format!("budget `{name}` was removed"), &reason), out);
        self.budgets_changed();
        Ok(())
    }

    /// Takes up what was declared before a restart. What does not parse was written by another version: it is left alone and
    /// not in force, which the history says.
    pub(super) fn recover_declarations(&mut self, declarations: Vec<Declaration>, spent: &[BudgetSpent]) {
        for Declaration { kind, name, version, body, .. } in declarations {
            self.allocation.versions.insert((kind, name), version);
            let Some(body) = body else { continue };
            match kind {
                DeclarationKind::Limit => {
                    if let Ok(limit) = serde_json::from_str::<Limit>(&body) {
                        self.allocation.limits.put(self.now, limit);
                    }
                }
                DeclarationKind::Budget => {
                    if let Ok(stored) = serde_json::from_str::<StoredBudget>(&body) {
                        let (budget, since) = stored.parts();
                        self.allocation.ledger.put(self.now, budget, since, spent);
                    }
                }
                DeclarationKind::Size => {
                    if let Ok(size) = serde_json::from_str::<Size>(&body) {
                        self.allocation.sizes.put(size, version);
                    }
                }
                DeclarationKind::Prices => {
                    if let Ok(prices) = serde_json::from_str(&body) {
                        self.take_up_prices(prices);
                    }
                }
                _ => {}
            }
        }
        self.budgets_changed();
    }

    /// Refuses a task that a budget does not take.
    pub(super) fn check_budgets(&self, spec: &evenkeel_shared::TaskSpec) -> Result<(), Error> {
        let ledger = &self.allocation.ledger;
        if ledger.is_empty() {
            return Ok(());
        }
        let shortage = ledger.check(self.now, &spec.tenant, &spec.kind, spec.budget.as_deref());
        match shortage {
            // What can never go would keep its lane from going. To try again is no use.
            Some(shortage) if shortage.needed > shortage.cap => {
                let words = format!("{shortage}: it would wait for ever; let it cost less, or raise the cap");
                Err(Error::new(Code::FailedPrecondition, words).about("budget", &*shortage.budget))
            }
            Some(shortage) if shortage.refuse => {
                Err(Error::exhausted(shortage.to_string(), hint(self.now, shortage.until)))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn json<T: Serialize>(field: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Violation::new(field, format!("cannot be stored: {error}")).into())
}

pub(super) fn because(words: String, reason: &str) -> String {
    if reason.is_empty() { words } else { format!("{words}: {reason}") }
}
