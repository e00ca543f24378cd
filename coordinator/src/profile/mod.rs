//! Where the processor's time goes: stacks of all threads, taken a hundred times a second for some seconds.
//!
//! Samples are taken by a timer of the process (`SIGPROF`) and the crate `pprof`; that a signal handler walks a stack is its
//! business, and the price is that it is Linux alone. What is written is our own: pprof's protobuf ([`proto`]), folded stacks, and
//! a flame graph ([`flame`]); the crate's writers would bring a second prost and a quarter of a minute of build.
//!
//! One at a time, because a process has one such timer; and of bounded length, because stacks are kept until the end.

mod flame;
mod proto;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use evenkeel_shared::{Code, Error, Violation};
use tokio::sync::Semaphore;

/// Samples a second. Not a round number: what runs a hundred times a second would be always or never met.
pub const SAMPLES_PER_SECOND: i32 = 99;
/// Longest profile, in seconds.
const SECONDS_MAX: u64 = 60;
/// When the next one may be asked for, if one is being made.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// In which form a profile is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `profile.proto` of pprof, not compressed: for `pprof`, `go tool pprof`, Pyroscope, Grafana.
    Pprof,
    /// A picture.
    Svg,
    /// A line for each stack, outermost first, with its samples: for `flamegraph.pl`, speedscope.
    Folded,
}

impl Form {
    /// By a header `accept`; pprof's if it says nothing.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let asks = |kind: &str| header.split([',', ';']).any(|word| word.trim() == kind);
        match () {
            () if asks("image/svg+xml") || asks("text/html") => Self::Svg,
            () if asks("text/plain") => Self::Folded,
            () => Self::Pprof,
        }
    }

    /// For the header `content-type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Pprof => "application/octet-stream",
            Self::Svg => "image/svg+xml",
            Self::Folded => "text/plain; charset=utf-8",
        }
    }
}

/// Stacks and how often each was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Names of functions, outermost first, after the name of the thread.
    pub stacks: BTreeMap<Vec<String>, u64>,
    /// For so long.
    pub lasted: Duration,
}

impl Profile {
    /// In this form.
    #[must_use]
    pub fn written(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Pprof => proto::write(self),
            Form::Svg => flame::write(self).into_bytes(),
            Form::Folded => self.folded().into_bytes(),
        }
    }

    /// This, unless there is nothing in it: a process that waits takes no samples, and an empty picture looks like a fault.
    ///
    /// # Errors
    /// That there are no samples, and what to do.
    fn with_samples(self) -> Result<Self, Error> {
        if self.stacks.is_empty() {
            let what = format!(
                "there is nothing in the profile: within {:?} the process was at work for less than {} ms. Ask again while it \
                 works, or for longer",
                self.lasted,
                1_000 / SAMPLES_PER_SECOND
            );
            return Err(Error::new(Code::FailedPrecondition, what));
        }
        Ok(self)
    }

    fn folded(&self) -> String {
        // Semicolons stand between functions.
        let line = |(stack, samples): (&Vec<String>, &u64)| {
            let names: Vec<_> = stack.iter().map(|name| name.replace(';', ":")).collect();
            format!("{} {samples}\n", names.join(";"))
        };
        self.stacks.iter().map(line).collect()
    }
}

/// Makes profiles, one at a time. Clones share that.
#[derive(Clone, Debug)]
pub struct Profiler(Arc<Semaphore>);

impl Default for Profiler {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Profiler {
    /// Takes samples for so many seconds.
    ///
    /// # Errors
    /// If it is too long, another one is being made, this system has no such timer, or the process had nothing to do.
    pub async fn profile(&self, seconds: u64) -> Result<Profile, Error> {
        if !(1..=SECONDS_MAX).contains(&seconds) {
            return Err(Violation::new("seconds", format!("is {seconds}; 1 to {SECONDS_MAX} are allowed")).into());
        }
        let _turn = self
            .0
            .try_acquire()
            .map_err(|_| Error::exhausted("a profile is being made; there is one at a time", RETRY_AFTER))?;
        take(Duration::from_secs(seconds)).await?.with_samples()
    }
}

#[cfg(target_os = "linux")]
async fn take(time: Duration) -> Result<Profile, Error> {
    let failed = |error: pprof::Error| Error::new(Code::Internal, format!("no profile can be made: {error}"));
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(SAMPLES_PER_SECOND)
        // Their stacks cannot be walked safely from a signal.
        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
        .build()
        .map_err(failed)?;
    tokio::time::sleep(time).await;
    // Looking names up reads the program's own file: seconds of work.
    let made = tokio::task::spawn_blocking(move || {
        let report = guard.report().build()?;
        let mut profile = Profile { stacks: BTreeMap::new(), lasted: time };
        for (frames, samples) in &report.data {
            let names = frames.frames.iter().rev().flat_map(|inlined| inlined.iter().rev().map(pprof::Symbol::name));
            let stack = std::iter::once(frames.thread_name_or_id()).chain(names).collect();
            *profile.stacks.entry(stack).or_default() += u64::try_from(*samples).unwrap_or_default();
        }
        Ok(profile)
    });
    made.await.map_err(|error| Error::new(Code::Internal, format!("the profile broke down: {error}")))?.map_err(failed)
}

#[cfg(not(target_os = "linux"))]
async fn take(_: Duration) -> Result<Profile, Error> {
    Err(Error::new(Code::Unimplemented, "profiles can be made on Linux alone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Two stacks of one thread.
    pub(super) fn example() -> Profile {
        let stacks = [(stack(&["main", "run", "a<b>"]), 3), (stack(&["main", "run"]), 1)];
        Profile { stacks: stacks.into(), lasted: Duration::from_secs(2) }
    }

    #[test]
    fn folded_stacks_are_lines() {
        let text = String::from_utf8(example().written(Form::Folded)).unwrap();
        assert_eq!(text, "main;run 1\nmain;run;a<b> 3\n");
    }

    #[test]
    fn that_there_is_nothing_in_it_is_said() {
        assert_eq!(example().with_samples(), Ok(example()));
        let empty = Profile { lasted: Duration::from_secs(2), ..Profile::default() };
        let error = empty.with_samples().unwrap_err();
        assert_eq!(error.code, Code::FailedPrecondition);
        assert!(error.message.contains("within 2s the process was at work for less than 10 ms"), "{error}");
    }

    #[test]
    fn the_form_is_what_is_asked_for() {
        for (accept, form) in [
            ("", Form::Pprof),
            ("*/*", Form::Pprof),
            ("image/svg+xml", Form::Svg),
            ("text/html,application/xhtml+xml;q=0.9", Form::Svg),
            ("text/plain", Form::Folded),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept}");
        }
    }

    #[tokio::test]
    async fn one_is_made_at_a_time_and_for_a_bounded_time() {
        let profiler = Profiler::default();
        for seconds in [0, SECONDS_MAX + 1] {
            assert_eq!(profiler.profile(seconds).await.unwrap_err().code, Code::InvalidArgument);
        }
        let _turn = profiler.0.acquire().await.unwrap();
        let refused = profiler.profile(1).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (Code::ResourceExhausted, Some(RETRY_AFTER)));
    }
}
