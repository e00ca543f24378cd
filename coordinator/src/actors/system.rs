//! The threads that actors live on.
//!
//! actix wants a `System` on the thread that makes arbiters, and starting an actor on a tokio worker panics. So the system
//! has a thread of its own, makes the arbiters there, and hands their handles out; actors are then started by
//! `start_in_arbiter` from anywhere.

use std::{io, sync::mpsc, thread};

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

/// The actors' threads.
#[derive(Debug)]
pub struct ActorThreads {
    system: System,
    thread: Option<thread::JoinHandle<()>>,
    /// For the coordinator actor: the engine.
    pub engine: ArbiterHandle,
    /// For the store writer, which blocks in commits.
    pub store: ArbiterHandle,
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
            let arbiters = match Arbiter::try_new().and_then(|engine| Ok([engine, Arbiter::try_new()?])) {
                Ok(arbiters) => arbiters,
                Err(error) => return drop(sender.send(Err(error))),
            };
            let [engine, store] = arbiters.each_ref().map(Arbiter::handle);
            let system = System::current();
            let rest = system.arbiter().clone();
            if sender.send(Ok((system, engine, store, rest))).is_ok() {
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
        let (system, engine, store, rest) = receiver.recv().map_err(|_| gone())??;
        Ok(Self { system, thread: Some(thread), engine, store, rest })
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
