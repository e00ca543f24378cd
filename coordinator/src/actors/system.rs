//! The threads that actors live on.
//!
//! actix wants a `System` on the thread that makes arbiters, and starting an actor on a tokio worker panics. So the system
//! has a thread of its own, makes the arbiters there, and hands their handles out; actors are then started by
//! `start_in_arbiter` from anywhere.

use std::{cell::Cell, io, sync::mpsc, thread};

use actix::{Actor, Addr, Context};
use actix_rt::{Arbiter, ArbiterHandle, System};
use tokio::sync::oneshot;

/// The name of the system's thread; actix names those of its arbiters with this prefix.
const SYSTEM_THREAD: &str = "evenkeel-actors";
const ARBITER_PREFIX: &str = "actix-rt|";

/// Whether the current thread is one that actors live on.
#[must_use]
pub fn is_actor_thread() -> bool {
    let thread = thread::current();
    thread.name().is_some_and(|name| name == SYSTEM_THREAD || name.starts_with(ARBITER_PREFIX))
}

thread_local! {
    /// A panic on this thread is caught, and what it means is dealt with.
    static PANICS_EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Until it is dropped, a panic on this thread ends nothing: it is caught.
#[derive(Debug)]
pub struct PanicsExpected(());

/// Says that a panic on this thread is caught from here on.
#[must_use]
pub fn expect_panics() -> PanicsExpected {
    PANICS_EXPECTED.set(true);
    PanicsExpected(())
}

impl Drop for PanicsExpected {
    fn drop(&mut self) {
        PANICS_EXPECTED.set(false);
    }
}

/// Whether a panic on this thread is caught.
#[must_use]
pub fn expects_panics() -> bool {
    PANICS_EXPECTED.get()
}

/// The actors' threads.
#[derive(Debug)]
pub struct ActorThreads {
    system: System,
    thread: Option<thread::JoinHandle<()>>,
    /// For the coordinator actor: the engine.
    pub engine: ArbiterHandle,
    /// For the store writer, which blocks in commits.
    pub store: ArbiterHandle,
    /// For the resource manager, which looks at the whole fleet at once.
    pub manager: ArbiterHandle,
    /// For all else.
    pub rest: ArbiterHandle,
}

impl ActorThreads {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the machine gives no thread, or no event loop for one.
    pub fn start() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new().name(SYSTEM_THREAD.into()).spawn(move || {
            let runner = System::new();
            let made = || io::Result::Ok([Arbiter::try_new()?, Arbiter::try_new()?, Arbiter::try_new()?]);
            let arbiters = match made() {
                Ok(arbiters) => arbiters,
                Err(error) => return drop(sender.send(Err(error))),
            };
            let [engine, store, manager] = arbiters.each_ref().map(Arbiter::handle);
            let system = System::current();
            let rest = system.arbiter().clone();
            if sender.send(Ok((system, engine, store, manager, rest))).is_ok() {
                // It returns when the system is stopped, and has no other error than a code that is never set.
                let _ = runner.run();
            }
            // What the actors own, the store before all, is closed when this thread has ended.
            for arbiter in arbiters {
                arbiter.stop();
                let _ = arbiter.join();
            }
        })?;
        let gone = || io::Error::other("the thread of the actors ended as it started");
        let (system, engine, store, manager, rest) = receiver.recv().map_err(|_| gone())??;
        Ok(Self { system, thread: Some(thread), engine, store, manager, rest })
    }

    /// Stops the actors and waits for the system's thread. Blocking.
    pub fn stop(&mut self) {
        self.system.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts an actor and returns once its mailbox is as large as it shall be: until then it would be actix's 16.
pub async fn start<A: Actor<Context = Context<A>>>(
    arbiter: &ArbiterHandle,
    mailbox_max: usize,
    make: impl FnOnce() -> A + Send + 'static,
) -> Addr<A> {
    let (started, starts) = oneshot::channel();
    let address = A::start_in_arbiter(arbiter, move |ctx| {
        ctx.set_mailbox_capacity(mailbox_max);
        let actor = make();
        let _ = started.send(());
        actor
    });
    // An error means that the arbiter is gone; the first message will say so.
    let _ = starts.await;
    address
}

impl Drop for ActorThreads {
    fn drop(&mut self) {
        self.stop();
    }
}
