//! The actors, each on its thread, and the ways to them.

use std::{io, sync::Arc};

use actix::Addr;
use evenkeel_core::{engine::Engine, manager::ManagerRecovery};

use super::parts::Parts;
use crate::{
    actors::{
        coordinator::CoordinatorActor,
        manager::ManagerHandle,
        publisher::{self, Publisher},
        store_writer::StoreWriter,
        system::{self, ActorThreads},
    },
    actuators::Actuator,
    config::CoordinatorConfig,
    gateway::Gateway,
    intake::Intake,
    store::Store,
};

/// Actors at work.
pub(super) struct Working {
    pub(super) threads: ActorThreads,
    pub(super) publisher: Addr<Publisher>,
    pub(super) writer: Addr<StoreWriter>,
    pub(super) actor: Addr<CoordinatorActor>,
    /// The way to the engine.
    pub(super) gateway: Gateway,
    pub(super) manager: ManagerHandle,
    pub(super) actuator: Arc<dyn Actuator>,
}

impl Parts {
    /// Starts the actors: from those that others write to, to those that write.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub(super) async fn set_to_work(
        &self,
        config: &CoordinatorConfig,
        (engine, store): (Engine, Box<dyn Store>),
        for_manager: ManagerRecovery,
        actuator: Arc<dyn Actuator>,
    ) -> io::Result<Working> {
        let threads = ActorThreads::start()?;
        let snapshot = self.snapshot.clone();
        let publisher = system::start(&threads.rest, publisher::MAILBOX_MAX, || Publisher::new(snapshot)).await;
        let dispatcher = self.dispatcher();
        let writer = self.start_writer(&threads, store, publisher.clone(), dispatcher.clone()).await;
        let actor = self.start_coordinator(&threads, engine, writer.clone(), dispatcher).await;
        let gateway = self.gateway(Intake::new(actor.clone(), self.heartbeats.clone()));
        let manager = self.start_manager(&threads, config, gateway.clone(), for_manager, Arc::clone(&actuator)).await;
        Ok(Working { threads, publisher, writer, actor, gateway, manager, actuator })
    }
}
