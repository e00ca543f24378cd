//! Who may do what, and what is kept of it, over real sockets.

use std::{fs, path::PathBuf};

use evenkeel_coordinator::{
    CoordinatorConfig,
    security::tokens::{hash, hex},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::support::{World, config};

mod audit;
mod revocation;
mod roles;
mod tenants;
mod web_tokens;

/// The clients of one connection, each call with a token.
type Keyed = InterceptedService<Channel, Bearer>;

/// Puts a token on each call.
#[derive(Clone)]
struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A file of credentials that a test changes.
struct Credentials {
    directory: tempfile::TempDir,
    text: String,
}

impl Credentials {
    /// An admin (`ek_admin`), a client (`ek_client`), a viewer (`ek_viewer`), and an agent (`ek_agent`, as `a-1`).
    fn usual() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), text: String::new() }
            .with("admin", "root", "admin", "")
            .with("client", "app", "client", "")
            .with("viewer", "dash", "viewer", "")
            .with("agent", "a-1", "agent", "")
    }

    /// One more, whose token is `ek_ID`.
    fn with(mut self, id: &str, name: &str, role: &str, more: &str) -> Self {
        let hash = hex(&hash(&format!("ek_{id}")));
        self.text += &format!(
            "[[credential]]\nid = \"{id}\"\nname = \"{name}\"\nroles = [\"{role}\"]\nsha256 = \"{hash}\"\n{more}\n"
        );
        self.write();
        self
    }

    fn write(&self) {
        // In one step, as an editor and a mounted secret do.
        let new = self.directory.path().join("new");
        fs::write(&new, &self.text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    /// Puts another text in the place of one.
    fn change(&mut self, before: &str, after: &str) {
        assert!(self.text.contains(before));
        self.text = self.text.replace(before, after);
        self.write();
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("credentials.toml")
    }

    fn config(&self) -> CoordinatorConfig {
        let mut config = config();
        config.auth.enabled = true;
        config.auth.credentials_file = self.path();
        config.auth.reload_interval_ms = 100;
        config
    }

    async fn world(&self) -> World {
        World::with(self.config()).await
    }
}

/// The clients' way with the token `ek_ID`.
fn keyed(world: &World, id: &str) -> Keyed {
    with_token(world, &format!("ek_{id}"))
}

fn with_token(world: &World, token: &str) -> Keyed {
    InterceptedService::new(world.channel(), Bearer(format!("Bearer {token}").parse().unwrap()))
}
