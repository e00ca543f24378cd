use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_000_000);

/// A breaker, a clock, and attempts that are numbered as they begin.
struct Bench {
    breaker: Breaker,
    settings: BreakerSettings,
    now: Timestamp,
    number: u64,
    fleet: usize,
}

impl Bench {
    fn new() -> Self {
        let settings = BreakerSettings { jitter: 0.0, ..BreakerSettings::default() };
        Self { breaker: Breaker::new(START), settings, now: START, number: 0, fleet: 10 }
    }

    /// An attempt begins and ends on this agent.
    fn attempt(&mut self, agent: u32, ok: bool) -> bool {
        self.breaker.begun(self.now, &self.settings);
        self.number += 1;
        self.end(self.number, agent, ok)
    }

    fn end(&mut self, number: u64, agent: u32, ok: bool) -> bool {
        let attempt = Attempt { number: AssignmentId(number), agent: AgentIx(agent), ok };
        let next = AssignmentId(self.number + 1);
        self.breaker.ended(self.now, &self.settings, attempt, (self.fleet, next), 1.0)
    }

    /// Attempts on agents in turn: `f` fails, anything else succeeds.
    fn attempts(&mut self, agents: u32, how: &str) -> &mut Self {
        for (at, letter) in (0..).zip(how.chars()) {
            self.attempt(at % agents, letter != 'f');
        }
        self
    }

    fn wait_ms(&mut self, ms: u64) -> &mut Self {
        self.now = self.now.plus(Duration::from_millis(ms));
        self.breaker.due(self.now, &self.settings, AssignmentId(self.number + 1));
        self
    }

    fn stands(&self) -> &'static str {
        self.breaker.state().name()
    }

    fn lets_through(&self) -> bool {
        self.breaker.shut_until(&self.settings).is_none()
    }

    /// How long it is still open, in milliseconds.
    fn open_for_ms(&self) -> u128 {
        self.breaker.shut_until(&self.settings).unwrap().since(self.now).as_millis()
    }
}

#[test]
fn failures_in_a_row_on_several_agents_open_it() {
    let mut bench = Bench::new();
    bench.attempts(4, &"f".repeat(19));
    assert_eq!(bench.stands(), "closed");
    assert!(bench.attempt(3, false));
    assert_eq!((bench.stands(), bench.lets_through()), ("open", false));
    assert_eq!(bench.breaker.reason(), "20 attempts in a row failed, on 4 agents");
}

#[test]
fn a_share_of_failures_opens_it_once_there_are_enough_attempts() {
    let mut bench = Bench::new();
    bench.attempts(4, &"sff".repeat(6));
    assert_eq!(bench.stands(), "closed", "eighteen are too few");
    bench.attempts(3, "sff");
    assert_eq!(bench.stands(), "open");
    let mut calm = Bench::new();
    calm.attempts(4, &"sssf".repeat(100));
    assert_eq!(calm.stands(), "closed", "a quarter is not a half");
}

#[test]
fn one_broken_agent_does_not_open_it_however_much_it_fails() {
    let mut bench = Bench::new();
    for _ in 0..50 {
        // It fails at once and is given the next, so that it has most of the attempts.
        (0..9).for_each(|_| _ = bench.attempt(0, false));
        bench.attempt(1, true);
    }
    assert_eq!(bench.stands(), "closed");
    // That two others failed once as well, by chance, makes no difference.
    bench.attempt(1, false);
    bench.attempt(2, false);
    (0..40).for_each(|_| _ = bench.attempt(0, false));
    assert_eq!(bench.stands(), "closed");
}

#[test]
fn where_there_is_one_agent_only_it_speaks_for_the_kind() {
    let mut bench = Bench::new();
    bench.fleet = 1;
    bench.attempts(1, &"f".repeat(20));
    assert_eq!(bench.stands(), "open");
}

#[test]
fn failures_that_are_long_past_do_not_count() {
    let mut bench = Bench::new();
    bench.attempts(4, &"f".repeat(19));
    bench.wait_ms(bench.settings.window_ms + 1).attempts(4, "f");
    assert_eq!((bench.stands(), bench.breaker.counts()), ("closed", (1, 1)));
}

/// One that opened just now.
fn open() -> Bench {
    let mut bench = Bench::new();
    bench.attempts(4, &"f".repeat(20));
    bench
}

#[test]
fn an_open_one_is_tried_with_a_few_attempts_and_closes_when_they_succeed() {
    let mut bench = open();
    bench.wait_ms(4_999);
    assert_eq!(bench.stands(), "open");
    bench.wait_ms(1);
    assert_eq!((bench.stands(), bench.lets_through()), ("half-open", true));
    (0..5).for_each(|_| _ = bench.breaker.begun(bench.now, &bench.settings));
    assert!(!bench.lets_through(), "five are enough");
    bench.number += 5;
    for number in 21..=23 {
        bench.end(number, 1, true);
    }
    assert_eq!((bench.stands(), bench.lets_through()), ("closed", true), "the other two cannot change it");
}

#[test]
fn trials_that_fail_open_it_for_twice_as_long_each_time_up_to_a_bound() {
    let mut bench = open();
    let mut opened_for = vec![bench.open_for_ms()];
    for _ in 0..7 {
        bench.wait_ms(u64::try_from(bench.open_for_ms()).unwrap()).attempts(3, "fff");
        opened_for.push(bench.open_for_ms());
    }
    assert_eq!(opened_for, [5_000, 10_000, 20_000, 30_000, 30_000, 30_000, 30_000, 30_000]);
    // Closed for long, it begins anew.
    bench.wait_ms(30_000).attempts(3, "sss").wait_ms(30_000).attempts(4, &"f".repeat(20));
    assert_eq!(bench.open_for_ms(), 5_000);
}

#[test]
fn chance_makes_it_shorter_by_a_bounded_share() {
    let settings = BreakerSettings { jitter: 0.2, ..BreakerSettings::default() };
    let times = [0.0, 0.5, 1.0, f64::INFINITY].map(|draw| settings.open_for(1, draw).as_millis());
    assert_eq!(times, [5_000, 4_500, 4_000, 4_000]);
    assert_eq!(settings.open_for(u32::MAX, 0.0).as_millis(), 30_000);
}

#[test]
fn what_began_before_it_turned_has_no_say() {
    let mut bench = open();
    bench.number += 10;
    bench.wait_ms(5_000);
    for number in 21..=30 {
        bench.end(number, 1, number % 2 == 0);
    }
    assert_eq!(bench.stands(), "half-open", "those began while it was open, or before");
    bench.attempts(3, "fff");
    assert_eq!(bench.stands(), "open");
}

#[test]
fn trials_that_say_nothing_are_replaced() {
    let mut bench = open();
    bench.wait_ms(5_000);
    (0..5).for_each(|_| _ = bench.breaker.begun(bench.now, &bench.settings));
    assert!(!bench.lets_through());
    bench.wait_ms(4_999);
    assert!(!bench.lets_through());
    bench.wait_ms(1);
    assert_eq!((bench.stands(), bench.lets_through()), ("half-open", true));
}

#[test]
fn an_operator_opens_and_closes_it() {
    let mut bench = Bench::new();
    let next = AssignmentId(1);
    bench.breaker.order(bench.now, BreakerOrder::Open(Duration::from_secs(60)), "the provider is down", next);
    assert_eq!((bench.stands(), bench.open_for_ms()), ("open", 60_000));
    assert_eq!(bench.breaker.reason(), "by hand: the provider is down");
    bench.breaker.order(bench.now, BreakerOrder::Close, "", next);
    assert_eq!((bench.stands(), bench.breaker.reason()), ("closed", "by hand"));
    assert!(bench.breaker.is_idle(bench.now, &bench.settings), "nothing is kept of it");
}

#[test]
fn settings_out_of_range_are_refused() {
    let check = |change: fn(&mut BreakerSettings), field: &str| {
        let mut settings = BreakerSettings::default();
        assert_eq!(settings.validate(), Ok(()));
        change(&mut settings);
        assert_eq!(settings.validate().unwrap_err().field, field);
    };
    check(|settings| settings.failure_ratio = 0.0, "failure_ratio");
    check(|settings| settings.window_attempts = 1_001, "window_attempts");
    check(|settings| settings.attempts_min = 101, "attempts_min");
    check(|settings| settings.trials = 0, "trials");
    check(|settings| settings.open_max_ms = 4_999, "open_max_ms");
    check(|settings| settings.jitter = 0.6, "jitter");
}
