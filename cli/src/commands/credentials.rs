//! `evenkeel whoami` and `evenkeel credentials`: who one is to the coordinator, and who else is known to it.

use clap::Subcommand;
use evenkeel_proto::v1;

use crate::{
    args::Global,
    exit::{Exit, Outcome, answer},
    output::credential::{CredentialView, RevokedView, WhoView},
};

/// What to do with credentials.
#[derive(Debug, Subcommand)]
pub enum CredentialsCommand {
    /// List the credentials that are accepted or were in use, without their secrets
    List,
    /// Refuse a credential from now on, and end what is under way in its name
    ///
    /// The coordinator remembers it over restarts, whatever the file of credentials says.
    Revoke {
        /// Its id, as `list` shows it: of a token its id in the file, otherwise `jwt:ID` or `certificate:HASH`
        id: String,
        /// Why, for the audit log
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

/// Carries it out.
///
/// # Errors
/// If the caller may not, or the coordinator does not answer.
pub async fn run(command: CredentialsCommand, global: &Global) -> Outcome {
    let mut admin = global.address()?.connect().await?.admin;
    let output = global.output();
    match command {
        CredentialsCommand::List => {
            let listed = answer("list credentials", admin.list_credentials(v1::ListCredentialsRequest {}).await)?;
            let listed: Vec<_> = listed.credentials.into_iter().map(CredentialView::from).collect();
            output.list(&listed, "no credentials are known")?;
        }
        CredentialsCommand::Revoke { id, reason } => {
            let request = v1::RevokeCredentialRequest { id: id.clone(), reason };
            let revoked = answer("revoke the credential", admin.revoke_credential(request).await)?;
            output.one(&RevokedView { id, streams_ended: revoked.streams_ended })?;
        }
    }
    Ok(Exit::Ok)
}

/// Shows who the coordinator takes this client for.
///
/// # Errors
/// If the coordinator does not answer, or does not accept the credentials.
pub async fn whoami(global: &Global) -> Outcome {
    let mut admin = global.address()?.connect().await?.admin;
    let who = answer("ask who this is", admin.who_am_i(v1::WhoAmIRequest {}).await)?;
    global.output().one(&WhoView::from(who))?;
    Ok(Exit::Ok)
}
