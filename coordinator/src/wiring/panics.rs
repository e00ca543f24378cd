//! What a panic does to the process.

use std::sync::Once;

use super::EXIT_PANICKED;
use crate::actors::system;

/// Ends the process when anything in it panics that nobody is there to catch: for a process that runs nothing but a
/// coordinator, where going on without a part is worse than starting again from the store.
pub fn end_process_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            if !system::expects_panics() {
                std::process::exit(EXIT_PANICKED);
            }
        }));
    });
}

/// An actor that panics leaves its mailbox closed for ever, so the process ends and starts again from the store. Other
/// threads may run what is not the coordinator's, such as executors of agents in the same process.
pub(super) fn end_process_when_an_actor_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            if system::is_actor_thread() && !system::expects_panics() {
                std::process::exit(EXIT_PANICKED);
            }
        }));
    });
}
