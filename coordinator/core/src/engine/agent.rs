//! One agent, as the engine keeps it.

use std::{sync::Arc, time::Duration};

use evenkeel_shared::{
    AdminState, AgentId, AgentLoad, AgentSpec, Health, Kind, Resources, SessionEpoch, TaskId, Timestamp,
};

use super::{holdings::Holdings, limits, settings::Settings};
use crate::{
    admission::{DynamicLimitSettings, dynamic::SlotLimit},
    health::{
        lease::{Lease, LeaseSettings},
        pace::Pace,
        slow_start::Ramp,
        thresholds::{Condition, HealthTracker},
    },
    model::{AgentView, KindStatistics},
    routing::Room,
    timer::TimerKey,
};

/// What an agent is waiting for; each is at most one timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AgentTimer {
    /// Silence becomes death.
    Lease,
    /// A broken stream becomes death.
    Grace,
    /// It may take on more.
    Ramp,
    /// The operator's patience with a drain ends.
    Drain,
    /// It may be used again.
    Ejection,
    /// It is no longer shown.
    Forget,
}

impl AgentTimer {
    pub const COUNT: usize = 6;
}

/// What the operator wants of an agent, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub state: AdminState,
    pub drain_deadline: Option<Timestamp>,
    pub reason: String,
}

/// An agent, with or without a session.
#[derive(Debug)]
pub(super) struct Agent {
    pub spec: Arc<AgentSpec>,
    pub instance: String,
    /// The newest dial of that process that has begun a session.
    pub dial: u64,
    /// False for one that is known only because a recovered task was assigned to it.
    pub registered: bool,
    pub session: Option<SessionEpoch>,
    pub last_session: SessionEpoch,
    pub connected_at: Timestamp,
    pub last_heard_at: Timestamp,
    pub lease: Lease,
    /// By which its session is judged: those that it was welcomed with.
    pub lease_settings: LeaseSettings,
    pub wanted: Wanted,
    /// It said itself that it wants nothing new.
    pub leaving: bool,
    pub tracker: HealthTracker,
    pub health: Health,
    pub conditions: Vec<Condition>,
    /// Tasks that were counted as crashed when it was given up; no more than it held. Should it turn out that only its
    /// connection was gone, they are pardoned.
    pub blamed_for: Vec<TaskId>,
    /// It was given up since it last had a session, so it starts slowly.
    pub was_given_up: bool,
    pub ramp: Ramp,
    pub ejected_until: Option<Timestamp>,
    /// When that was last set or ended.
    pub ejection_changed_at: Timestamp,
    pub times_ejected: u32,
    /// An upstream quota that it draws on is used up.
    pub quota_shut: bool,
    pub slot_limit: SlotLimit,
    /// Slots that latency has left it; see [`crate::admission::dynamic`].
    pub slots_left: u32,
    pub load: AgentLoad,
    pub load_at: Timestamp,
    pub holdings: Holdings,
    /// The sum of what has its place.
    pub reserved: Resources,
    /// Slots of what waits at the agent.
    pub ahead_slots: u32,
    pub ahead_tasks: u32,
    /// Holdings of kinds that had not been measured on this agent when they were assigned.
    pub unmeasured: u32,
    pub succeeded: u64,
    pub failed: u64,
    /// Sorted by kind. A handful as a rule, so they are a cache line or two.
    pub kinds_seen: Vec<KindStatistics>,
    pub pace: Pace,
    /// It looks different from when that was last asked; see [`super::tables::AgentTable::mark_changed`].
    pub changed: bool,
    pub timers: [Option<TimerKey>; AgentTimer::COUNT],
}

impl Agent {
    pub fn new(spec: Arc<AgentSpec>, settings: &Settings, now: Timestamp) -> Self {
        Self {
            spec,
            instance: String::new(),
            dial: 0,
            registered: false,
            session: None,
            last_session: SessionEpoch(0),
            connected_at: Timestamp::ZERO,
            last_heard_at: Timestamp::ZERO,
            lease: Lease::new(&settings.lease, now),
            lease_settings: settings.lease,
            wanted: Wanted::default(),
            leaving: false,
            tracker: HealthTracker::new(settings.health),
            health: Health::Healthy,
            conditions: Vec::new(),
            blamed_for: Vec::new(),
            was_given_up: false,
            ramp: Ramp::full(settings.ramp),
            ejected_until: None,
            ejection_changed_at: Timestamp::ZERO,
            times_ejected: 0,
            quota_shut: false,
            slot_limit: SlotLimit::default(),
            slots_left: u32::MAX,
            load: AgentLoad::default(),
            load_at: Timestamp::ZERO,
            holdings: Holdings::default(),
            reserved: Resources::default(),
            ahead_slots: 0,
            ahead_tasks: 0,
            unmeasured: 0,
            succeeded: 0,
            failed: 0,
            kinds_seen: Vec::new(),
            pace: Pace::default(),
            changed: false,
            timers: [None; AgentTimer::COUNT],
        }
    }

    /// An agent of which nothing is known but its name.
    pub fn unknown(id: AgentId, settings: &Settings, now: Timestamp) -> Self {
        let spec = AgentSpec::of(id, Resources::default());
        Self::new(Arc::new(spec), settings, now)
    }

    /// Slots it may use now. All that its ramp has while it runs nothing, so that what needs more than latency has left it
    /// can go alone.
    pub fn slots_usable(&self, now: Timestamp) -> u32 {
        let slots = self.slots_ramped(now);
        if self.reserved.slots == 0 { slots } else { slots.min(self.slots_left) }
    }

    fn slots_ramped(&self, now: Timestamp) -> u32 {
        self.ramp.slots_usable(now, self.spec.capacity.slots)
    }

    /// Latency has taken slots from it.
    pub fn is_slowed(&self) -> bool {
        self.slots_left < self.spec.capacity.slots
    }

    /// Slots free for urgent tasks, which may have those that latency has taken; 0 if it has taken none.
    pub fn urgent_slots_free(&self, now: Timestamp) -> u32 {
        if self.is_slowed() { self.slots_ramped(now).saturating_sub(self.reserved.slots) } else { 0 }
    }

    /// Takes over what latency has left of its slots.
    pub fn limit_slots(&mut self, settings: &DynamicLimitSettings) {
        let slots = self.spec.capacity.slots;
        let left = if settings.enabled { self.slot_limit.slots(settings, slots) } else { slots };
        self.slots_left = if left < slots { left } else { u32::MAX };
    }

    /// What is free for a task that starts now.
    pub fn free(&self, now: Timestamp) -> Resources {
        let mut free = self.spec.capacity.clone();
        free.slots = self.slots_usable(now);
        free.subtract(&self.reserved);
        free
    }

    /// Slots that may be taken ahead: as many as it has where it asked for it, or where its attempts are so short that the
    /// round trip counts; else none.
    ///
    /// None where latency has taken slots: the agent, which does not know of that, would begin what it has ahead.
    pub fn ahead_slots_free(&self, now: Timestamp, prefetch_below: Duration) -> u32 {
        if self.is_slowed() {
            return 0;
        }
        let per_slot = match self.spec.prefetch_per_slot {
            Some(asked) => u32::from(asked.min(1)),
            None => u32::from(self.is_brief(prefetch_below)),
        };
        (per_slot * self.slots_usable(now)).saturating_sub(self.ahead_slots)
    }

    /// Whether all that it has done was brief, and nothing that it has may be otherwise.
    fn is_brief(&self, prefetch_below: Duration) -> bool {
        self.unmeasured == 0
            && !self.kinds_seen.is_empty()
            && self.kinds_seen.iter().all(|kind| kind.mean < prefetch_below)
    }

    /// What is observed of it, session included.
    pub fn observed_health(&self) -> Health {
        if self.session.is_some() { self.health } else { Health::Lost }
    }

    /// An attempt took so long.
    pub fn observe_run(&mut self, kind: &Kind, run: Duration) {
        match self.find_kind(kind) {
            Ok(at) => {
                let seen = &mut self.kinds_seen[at];
                seen.completed += 1;
                let mean = seen.mean.as_secs_f64();
                seen.mean = Duration::from_secs_f64(mean + limits::RUN_TIME_WEIGHT * (run.as_secs_f64() - mean));
            }
            Err(at) if self.kinds_seen.len() < limits::KINDS_SEEN_MAX => {
                self.kinds_seen.insert(at, KindStatistics { kind: kind.clone(), completed: 1, mean: run });
            }
            Err(_) => {}
        }
    }

    /// How long attempts of a kind took, if there were any.
    pub fn run_mean(&self, kind: &Kind) -> Option<Duration> {
        self.find_kind(kind).ok().map(|at| self.kinds_seen[at].mean)
    }

    fn find_kind(&self, kind: &Kind) -> Result<usize, usize> {
        self.kinds_seen.binary_search_by(|seen| seen.kind.cmp(kind))
    }

    /// Its capacity is not what it was, or was not known: what fits has its place, oldest first, the rest waits there.
    pub fn replace_holdings(&mut self, now: Timestamp) {
        self.reserved = Resources::default();
        (self.ahead_slots, self.ahead_tasks) = (0, 0);
        let mut free = self.free(now);
        for holding in self.holdings.values_mut() {
            let need = &holding.spec.requirements.resources;
            if free.fits(need) {
                holding.room = Room::Now;
                free.subtract(need);
                self.reserved.add(need);
            } else {
                holding.room = Room::Ahead;
                self.ahead_slots += need.slots;
                self.ahead_tasks += 1;
            }
        }
    }

    /// Attempts that have their place.
    pub fn running_tasks(&self) -> u32 {
        u32::try_from(self.holdings.len()).unwrap_or(u32::MAX).saturating_sub(self.ahead_tasks)
    }

    pub fn view(&self, now: Timestamp) -> AgentView {
        AgentView {
            spec: self.spec.clone(),
            admin: self.wanted.state,
            health: self.observed_health(),
            conditions: self.conditions_in_words(now),
            session: self.last_session,
            connected_at: self.connected_at,
            last_heard_at: self.last_heard_at,
            reserved: self.reserved.clone(),
            slots_usable: self.slots_usable(now),
            running_tasks: self.running_tasks(),
            prefetched_tasks: self.ahead_tasks,
            load: self.load.clone(),
            succeeded: self.succeeded,
            failed: self.failed,
            kinds_seen: self.kinds_seen.clone(),
        }
    }

    fn conditions_in_words(&self, now: Timestamp) -> Vec<String> {
        let mut words: Vec<String> = self.conditions.iter().map(ToString::to_string).collect();
        if self.session.is_none() {
            words.push("has no session".to_owned());
        }
        if self.leaving {
            words.push("said that it drains".to_owned());
        }
        if !self.wanted.reason.is_empty() {
            words.push(format!("{}: {}", self.wanted.state, self.wanted.reason));
        }
        if let Some(until) = self.ejected_until {
            words.push(format!("ejected for failing, for another {:.0?}", until.since(now)));
        }
        let usable = self.slots_ramped(now);
        if usable < self.spec.capacity.slots {
            words.push(format!("ramps up: {usable} of {} slots", self.spec.capacity.slots));
        }
        if self.quota_shut {
            words.push("an upstream quota that it draws on is used up".to_owned());
        }
        if self.is_slowed() {
            let (left, slots) = (self.slots_left, self.spec.capacity.slots);
            let ratio = self.slot_limit.latency_ratio();
            words.push(format!("slowed down: {left} of {slots} slots, attempts take {ratio:.1} times their best"));
        }
        words
    }
}
