//! Waiting for other processes, for at most [`PATIENCE`].
//!
//! Where there is an event, tests wait for that: a line on a pipe, the end of a process, what a coordinator tells those who
//! watch. What is left can only be asked for, since nobody says when it changes: a count in a status, the latest measurement,
//! a file that a script writes. [`until`] and [`until_some`] ask for it again and again, with a pause, so that asking does
//! not take the processor from those who are asked. Nothing else in these tests sleeps.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, ExitStatus},
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::wait::{Id, WaitPidFlag, waitid},
    unistd::Pid,
};

/// Longest wait for anything; far above what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until it is so.
pub fn until(what: &str, is: impl FnMut() -> bool) {
    until_within(PATIENCE, what, is);
}

/// The same for what takes longer by its nature.
pub fn until_within(patience: Duration, what: &str, mut is: impl FnMut() -> bool) {
    let give_up = Instant::now() + patience;
    while !is() {
        assert!(Instant::now() < give_up, "waited {patience:?} for {what}");
        thread::sleep(PAUSE);
    }
}

/// Asks until there is something.
pub async fn until_some<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < give_up, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// What a wait that has no limit of its own gives; `None` if it takes too long.
fn within_patience<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (says, ends) = channel();
    // It ends with what it waits for, which a failed test kills.
    thread::spawn(move || says.send(wait()));
    ends.recv_timeout(PATIENCE).ok()
}

/// The first line that a process prints, and its further output; `None` if it prints nothing in time. Empty: it has ended.
pub fn first_line(stdout: ChildStdout) -> Option<(String, BufReader<ChildStdout>)> {
    within_patience(move || {
        let (mut line, mut stdout) = (String::new(), BufReader::new(stdout));
        stdout.read_line(&mut line).unwrap();
        (line, stdout)
    })
}

/// Waits for the end of a process; `None` if it does not end in time.
pub fn ended(child: &mut Child) -> Option<ExitStatus> {
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    // It is left to be collected by its owner, so that nobody else gets its number meanwhile.
    let end = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    // One that was collected already has ended, too.
    within_patience(move || waitid(Id::Pid(pid), end).is_ok())?;
    Some(child.wait().unwrap())
}
