//! What attempts cost, written down as they end, and what of it is to be stored.
//!
//! The book itself is [`crate::cost::book`]. It is fed here rather than by whoever reads the history, because what an attempt
//! had of its agent is known here and nowhere else once it is over; and it is stored from here, so that costs are accounted for
//! whether or not the resource manager runs.

use std::time::Duration;

use evenkeel_shared::{Error, Timestamp, Usage, Violation};

use super::{
    Engine, Timer,
    control::{because, json},
    effects::{Change, Effects},
    tables::Current,
};
use crate::{
    cost::{
        AGENT_PRICES_MAX, Prices,
        book::{Book, EndedAttempt, IDLE_INTERVAL, PaidAgent},
    },
    ix::TaskIx,
    model::{ClusterEventKind, CostEntry, DeclarationKind, Record},
    timer::TimerKey,
};

/// What the engine needs to account for costs.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub book: Book,
    timer: Option<(Timestamp, TimerKey)>,
}

/// Costs that are not stored yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveCosts {
    /// Of the stretch that is being written, by tenant, kind, agent and fleet.
    pub entries: Vec<CostEntry>,
    /// Of the most expensive tasks within the last hour, the most expensive first.
    pub tasks: Vec<CostEntry>,
    /// The prices in force.
    pub prices: Prices,
}

impl Engine {
    /// Costs that are not stored yet.
    #[must_use]
    pub fn live_costs(&self, now: Timestamp) -> LiveCosts {
        let book = &self.accounts.book;
        LiveCosts { entries: book.entries(), tasks: book.expensive(now), prices: book.prices().clone() }
    }

    /// The prices in force.
    #[must_use]
    pub const fn prices(&self) -> &Prices {
        self.accounts.book.prices()
    }

    /// The live attempt of a task has ended.
    pub(super) fn account_attempt(&mut self, task: TaskIx, current: &Current, run: Duration, usage: Option<&Usage>) {
        let reports = usage.is_some_and(|usage| !usage.cost.is_empty());
        if !self.accounts.book.is_priced() && !reports {
            return;
        }
        self.tasks[task].reported |= reports;
        let (row, agent) = (&self.tasks[task], &self.agents[current.agent]);
        // An attempt that ended without its agent's word ran as far as was seen.
        let attempt = EndedAttempt {
            task: row.id,
            tenant: &row.spec.tenant,
            kind: &row.spec.kind,
            agent: &agent.spec.id,
            labels: &agent.spec.labels,
            slots: agent.spec.capacity.slots,
            had: &row.spec.requirements.resources,
            run: if run.is_zero() { current.seen_run(self.now) } else { run },
            payload_bytes: row.payload.len(),
            usage,
        };
        self.accounts.book.attempt(self.now, attempt);
        self.arm_accounts();
    }

    /// A task is over, with so many bytes of output. Without prices only those count that cost something, as with attempts: a mean
    /// over both would be of neither.
    pub(super) fn account_end(&mut self, task: TaskIx, output_bytes: usize) {
        let row = &self.tasks[task];
        if !self.accounts.book.is_priced() && !row.reported {
            return;
        }
        let (tenant, kind, agent) = (&row.spec.tenant, &row.spec.kind, row.last_agent.as_ref());
        self.accounts.book.task(self.now, tenant, kind, agent, output_bytes);
        self.arm_accounts();
    }

    pub(super) fn set_prices(&mut self, prices: Prices, reason: String, out: &mut Effects) -> Result<(), Error> {
        prices.validate()?;
        let body = json("prices", &prices)?;
        self.take_up_prices(prices);
        self.announce(ClusterEventKind::Budget, None, because("prices were set".to_owned(), &reason), out);
        self.declare(DeclarationKind::Prices, "", Some(body), reason, out);
        Ok(())
    }

    /// Takes up prices, new or recovered ones.
    pub(super) fn take_up_prices(&mut self, prices: Prices) {
        self.accounts.book.set_prices(self.now, prices);
        self.arm_accounts();
    }

    /// The time has come to look for idle agents, or to hand out what was written.
    pub(super) fn accounts_due(&mut self, out: &mut Effects) {
        self.accounts.timer = None;
        if self.accounts.book.pays_agents() {
            let connected = self.agents.iter().filter(|(_, agent)| agent.session.is_some());
            let agents = connected.map(|(_, agent)| PaidAgent {
                id: &agent.spec.id,
                labels: &agent.spec.labels,
                since: agent.connected_at,
                slots: agent.spec.capacity.slots,
                slots_used: agent.reserved.slots,
            });
            self.accounts.book.pay(self.now, agents);
        }
        if self.accounts.book.ends().is_some_and(|end| end <= self.now) {
            let entries = self.accounts.book.take(self.now);
            out.changes.extend(entries.into_iter().map(|entry| Change::Record(Box::new(Record::Cost(entry)))));
        }
        self.arm_accounts();
    }

    /// Sees to it that the engine is called when there is something to do. Idle agents are looked for at an interval, all else
    /// waits for the end of its stretch.
    fn arm_accounts(&mut self) {
        let book = &self.accounts.book;
        let next_look = book.pays_agents().then(|| self.now.plus(IDLE_INTERVAL));
        let Some(due) = [next_look, book.ends()].into_iter().flatten().min() else { return };
        if self.accounts.timer.is_some_and(|(at, _)| at <= due) {
            return;
        }
        if let Some((_, key)) = self.accounts.timer.take() {
            self.timers.cancel(key);
        }
        self.accounts.timer = Some((due, self.timers.insert(due, Timer::Accounts)));
    }
}

impl Prices {
    /// Checks what their type does not.
    ///
    /// # Errors
    /// Too many rules.
    pub fn validate(&self) -> Result<(), Error> {
        if self.agent_prices.len() > AGENT_PRICES_MAX {
            let count = self.agent_prices.len();
            let words = format!("has {count} rules; at most {AGENT_PRICES_MAX} are allowed");
            return Err(Violation::new("agent_prices", words).into());
        }
        Ok(())
    }
}
