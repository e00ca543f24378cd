//! Settings that change while it runs.
//!
//! What is read when something is decided is simply replaced; what was made from a setting is made to know the new one. What
//! already runs keeps what it was promised: an attempt its timeout, an agent the interval it was welcomed with.

use super::{Engine, Settings, effects::Effects, event::Configure};
use crate::model::{ClusterEventKind, DeclarationKind};

impl Engine {
    /// Goes by these settings from now on, and stores what was declared with them. What the strategy, the seed, the guards'
    /// switch and the grace after a restart were at the start stays: the first is set by a command of its own, the others
    /// mean something at a start only.
    pub(super) fn configure(&mut self, configure: Configure, reason: &str, out: &mut Effects) {
        let Configure { settings, declared, notice } = configure;
        let before = &self.settings;
        let settings = Settings {
            strategy: before.strategy.clone(),
            seed: before.seed,
            guards: before.guards,
            adoption_grace: before.adoption_grace,
            ..settings
        };
        self.queue.configure(settings.ageing_interval, settings.tenant_weights.clone());
        self.outliers.configure(settings.outliers);
        self.panic.configure(settings.panic);
        self.guarding.configure(settings.breakers);
        self.lag.configure(&settings.lease);
        for agent in self.agents.indices() {
            self.agents[agent].tracker.configure(settings.health);
        }
        self.settings = settings;
        for declared in declared {
            self.declare(DeclarationKind::Config, "", Some(declared), reason.to_owned(), out);
        }
        self.announce(ClusterEventKind::Config, None, notice, out);
        // There may be room where there was none: tasks may be given ahead, a measurement may count for less.
        self.offer_all(out);
    }
}
