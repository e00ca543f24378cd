//! Request sizes: how they are declared, and whether any agent could hold what they say. What they do is in [`crate::sizing`].

use evenkeel_shared::{Code, Error, Kind, Resources};

use super::{
    Engine,
    control::{because, json},
    effects::Effects,
};
use crate::{
    model::{ClusterEventKind, DeclarationKind},
    sizing::{SIZES_MAX, Size},
};

impl Engine {
    pub(super) fn put_size(&mut self, size: Size, reason: String, out: &mut Effects) -> Result<(), Error> {
        size.validate()?;
        let sizes = &self.allocation.sizes;
        let known = sizes.get(&size.kind).is_some();
        if !known && sizes.is_full() {
            let message = format!("there are {SIZES_MAX} request sizes; remove some");
            return Err(Error::exhausted(message, super::limits::RETRY_AFTER));
        }
        self.check_fits(&size)?;
        let body = json("size", &size)?;
        let verb = if known { "changed" } else { "declared" };
        let (kind, says) = (&size.kind, size.in_words());
        let words = format!("request size of kind `{kind}` was {verb}: tasks reserve {says}");
        let version = self.declare(DeclarationKind::Size, kind.as_str(), Some(body), reason.clone(), out);
        self.allocation.sizes.put(size, version);
        self.announce(ClusterEventKind::Size, None, because(words, &reason), out);
        Ok(())
    }

    pub(super) fn remove_size(&mut self, kind: &Kind, reason: String, out: &mut Effects) -> Result<(), Error> {
        if !self.allocation.sizes.remove(kind) {
            return Err(Error::not_found("request size", kind.as_str()));
        }
        self.declare(DeclarationKind::Size, kind.as_str(), None, reason.clone(), out);
        let words = format!("request size of kind `{kind}` was removed: tasks reserve what they ask for");
        self.announce(ClusterEventKind::Size, None, because(words, &reason), out);
        Ok(())
    }

    /// Refuses a size that none of the agents could hold which take the kind: its tasks would wait for ever. Where no agent takes
    /// it nothing is known yet. Walks the fleet: an operator has changed something.
    fn check_fits(&self, size: &Size) -> Result<(), Error> {
        let need = Resources {
            cpu_millis: size.cpu_millis.unwrap_or(0),
            memory_bytes: size.memory_bytes.unwrap_or(0),
            ..Resources::default()
        };
        let takes = |kinds: &[Kind]| kinds.contains(&size.kind);
        let agents = self.agents.iter().filter(|(_, agent)| agent.registered && takes(&agent.spec.kinds));
        let mut fits = agents.map(|(_, agent)| agent.spec.capacity.fits(&need)).peekable();
        if fits.peek().is_none() || fits.any(|fits| fits) {
            return Ok(());
        }
        let (kind, says) = (&size.kind, size.in_words());
        let words = format!(
            "no agent that takes tasks of kind `{kind}` has {says}: they would wait for ever; put less, or start one that has"
        );
        Err(Error::new(Code::FailedPrecondition, words).about("request size", kind.as_str()))
    }

    /// The request size of a kind.
    #[must_use]
    pub fn size(&self, kind: &Kind) -> Option<&Size> {
        self.allocation.sizes.get(kind)
    }

    /// The same with its version.
    pub(super) fn size_and_version(&self, kind: &Kind) -> Option<(Size, u64)> {
        self.allocation.sizes.entry(kind).cloned()
    }

    /// All request sizes with their versions, by kind.
    #[must_use]
    pub fn sizes(&self) -> Vec<(Size, u64)> {
        self.allocation.sizes.iter().cloned().collect()
    }
}
