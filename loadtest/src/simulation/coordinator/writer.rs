//! From effects to what is said: batches, commits, messages, in the order of the real shell.

use std::{collections::VecDeque, mem, time::Duration};

use evenkeel_core::engine::{Effects, Event, Message};
use evenkeel_shared::AgentId;

use super::{
    super::{
        plan::between,
        trace::About,
        world::{What, World},
    },
    Core, CrashPoint, IN_FLIGHT_MAX, Mail,
};

/// Between two attempts at a commit that found no room; it doubles up to the second.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// The writer gathers for so long at most: the time that the real mailbox takes to run empty.
const GATHER_MAX: Duration = Duration::from_micros(500);
/// What is with the writer.
#[derive(Default)]
pub(super) struct Writer {
    pub queue: VecDeque<Effects>,
    /// What is in the transaction under way.
    pub group: Vec<Effects>,
    pub busy: bool,
    pub full: bool,
    retry: Duration,
}

impl Core {
    /// Whether a transaction is under way, or waits for room.
    pub(in crate::simulation) fn writer_is_busy(&self) -> bool {
        self.writer.busy
    }
}

impl World {
    pub(super) fn schedule_hand_over(&mut self) {
        let life = self.coordinator.life;
        let Some(core) = self.coordinator.core.as_mut() else { return };
        if core.hand_over_is_due || core.gathered.is_empty() {
            return;
        }
        core.hand_over_is_due = true;
        let after = between(Duration::ZERO, GATHER_MAX, &mut self.draws.coordinator);
        self.later(after, What::HandOver { life });
    }

    pub(in crate::simulation) fn hand_over(&mut self, life: u64) {
        let Some(core) = self.core(life) else { return };
        core.hand_over_is_due = false;
        if core.gathered.is_empty() {
            return;
        }
        let batch = mem::take(&mut core.gathered);
        // On a full disk the permits come back at once: the engine must go on.
        core.in_flight += usize::from(!core.writer.full);
        core.writer.queue.push_back(batch);
        self.begin_commit();
    }

    pub(super) fn begin_commit(&mut self) {
        let life = self.coordinator.life;
        let Some(core) = self.coordinator.core.as_mut() else { return };
        let writer = &mut core.writer;
        if writer.busy {
            return;
        }
        if writer.group.is_empty() {
            writer.group.extend(writer.queue.drain(..));
        }
        if writer.group.is_empty() {
            return;
        }
        writer.busy = true;
        if self.plan.sabotage.ack_before_commit {
            let messages = writer.group.iter_mut().flat_map(|batch| mem::take(&mut batch.messages)).collect();
            self.release(messages);
        }
        let crash = self.coordinator.crash_at == Some(CrashPoint::BeforeCommit);
        if crash {
            return self.crash_coordinator("before a commit");
        }
        let Some(core) = self.coordinator.core.as_mut() else { return };
        let has_changes = core.writer.group.iter().any(|batch| !batch.changes.is_empty());
        let time =
            if has_changes { self.disk.commit_time(self.now, &mut self.draws.coordinator) } else { Duration::ZERO };
        self.later(time, What::CommitDone { life });
    }

    pub(in crate::simulation) fn commit_done(&mut self, life: u64) {
        let full = self.disk.is_full(self.now);
        let Some(core) = self.core(life) else { return };
        let has_changes = core.writer.group.iter().any(|batch| !batch.changes.is_empty());
        if has_changes && full {
            return self.hold();
        }
        if has_changes && mem::take(&mut self.disk.sync_fails) {
            return self.crash_coordinator("a sync failed");
        }
        let Some(core) = self.core(life) else { return };
        let was_full = core.writer.full;
        let group = mem::take(&mut core.writer.group);
        core.writer.busy = false;
        if !was_full {
            core.in_flight -= group.len();
        }
        for batch in &group {
            self.disk.commit(&batch.changes);
        }
        if has_changes && self.coordinator.crash_at == Some(CrashPoint::BeforeRelease) {
            return self.crash_coordinator("between a commit and its messages");
        }
        self.release(group.into_iter().flat_map(|batch| batch.messages).collect());
        if has_changes && self.coordinator.crash_at == Some(CrashPoint::AfterRelease) {
            return self.crash_coordinator("after its messages were out");
        }
        let Some(core) = self.core(life) else { return };
        if core.writer.full && core.writer.queue.is_empty() {
            core.writer.full = false;
            self.note(About::Fault, || "the store has room again".to_owned());
        }
        self.begin_commit();
        self.go_on();
    }

    /// The disk is full: the writer keeps what it has and tries again.
    pub(super) fn hold(&mut self) {
        let life = self.coordinator.life;
        let Some(core) = self.coordinator.core.as_mut() else { return };
        if !core.writer.full {
            core.writer.full = true;
            core.writer.retry = RETRY_FIRST;
            core.in_flight = 0;
        }
        let retry = core.writer.retry;
        core.writer.retry = (retry * 2).min(RETRY_MAX);
        self.later(retry, What::CommitRetried { life });
        self.go_on();
    }

    pub(in crate::simulation) fn commit_retried(&mut self, life: u64) {
        let Some(core) = self.core(life) else { return };
        core.writer.busy = false;
        self.begin_commit();
    }

    /// The mailbox goes on, if there is a permit.
    pub(super) fn go_on(&mut self) {
        let patience = self.plan.engine.lease.session_timeout() / 2;
        if let Some(core) = self.coordinator.core.as_mut()
            && core.in_flight < IN_FLIGHT_MAX
            && let Some(since) = core.rests_since.take()
            && self.now.since(since) >= patience
        {
            // An engine that is kept from listening for so long, by its disk, may take agents for dead.
            self.troubles.all(since, self.now);
        }
        while let Some(core) = self.coordinator.core.as_mut()
            && core.in_flight < IN_FLIGHT_MAX
            && let Some(mail) = core.mailbox.pop_front()
        {
            self.handle(mail);
        }
        if let Some(core) = self.coordinator.core.as_mut()
            && core.wakeup.is_none()
            && core.in_flight < IN_FLIGHT_MAX
        {
            self.feed(Mail { events: vec![Event::Tick], from: None });
        }
    }

    /// Says what is durable now.
    pub(super) fn release(&mut self, messages: Vec<Message>) {
        for message in messages {
            match message {
                Message::Reply { request, reply } => self.reply(request, reply),
                Message::ToAgent { session, message } => self.tell_agent(session, message),
                Message::CloseSession { session, error } => self.close_session(session, error),
                Message::LookUpResult { session, attempt } => {
                    let life = self.coordinator.life;
                    let recorded = self.disk.store.result_recorded(attempt);
                    let after = self.disk.read_time(self.now, &mut self.draws.coordinator);
                    self.later(after, What::LookedUp { life, session, attempt, recorded });
                }
                Message::Finished(task) => self.finished(&task),
                Message::TaskEvent(event) => self.note(About::Task(event.task), || {
                    let agent = event.agent.as_ref().map(AgentId::as_str).unwrap_or_default();
                    let (kind, attempt, message) = (event.kind.name(), event.attempt, &event.message);
                    format!("coordinator: {} {kind}, attempt {attempt} {agent} {message}", event.task)
                }),
                Message::ClusterEvent(event) => {
                    self.note(About::Cluster, || format!("coordinator: {} {}", event.kind.name(), event.message));
                }
                Message::Accepted(_) => {}
            }
        }
    }
}
