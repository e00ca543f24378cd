//! `evenkeel breakers`: circuit breakers of agents, kinds and upstream quotas.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use evenkeel_proto::v1;

use crate::{
    args::Global,
    exit::{Exit, Outcome, answer},
    output::guard::BreakerView,
    quantity,
};

/// What to do with breakers.
#[derive(Debug, Subcommand)]
pub enum BreakersCommand {
    /// List the breakers that are open or half-open
    List {
        /// Closed ones too
        #[arg(long)]
        all: bool,
        /// Only those of agents, of kinds, or of quota keys
        #[arg(long, value_enum)]
        of: Option<Scope>,
    },
    /// Open a breaker by hand: nothing goes there for a while
    Open {
        /// Of what
        #[arg(value_enum)]
        of: Scope,
        /// The agent, the kind, or the key
        name: String,
        /// For how long [default: 1m]
        #[arg(long = "for", value_name = "DURATION", value_parser = quantity::duration)]
        for_: Option<Duration>,
        /// Why, for the history
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Close a breaker by hand: what failed there is forgotten
    Close {
        /// Of what
        #[arg(value_enum)]
        of: Scope,
        /// The agent, the kind, or the key
        name: String,
        /// Why, for the history
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

/// Of what a breaker is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Scope {
    Agent,
    Kind,
    Quota,
}

impl From<Scope> for v1::BreakerScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Agent => Self::Agent,
            Scope::Kind => Self::Kind,
            Scope::Quota => Self::QuotaKey,
        }
    }
}

/// Carries it out.
///
/// # Errors
/// If there is no such breaker, or the coordinator does not answer.
pub async fn run(command: BreakersCommand, global: &Global) -> Outcome {
    let mut resources = global.address()?.connect().await?.resources;
    let output = global.output();
    let (doing, request) = match command {
        BreakersCommand::List { all, of } => {
            let scope = of.map_or(v1::BreakerScope::Unspecified, Into::into);
            let request = v1::ListBreakersRequest { include_closed: all, scope: scope.into() };
            let breakers = answer("list breakers", resources.list_breakers(request).await)?.breakers;
            let breakers: Vec<_> = breakers.into_iter().map(BreakerView::from).collect();
            let empty = if all { "no breakers: nothing has run yet" } else { "no breaker is open" };
            output.list(&breakers, empty)?;
            return Ok(Exit::Ok);
        }
        BreakersCommand::Open { of, name, for_, reason } => {
            let open_ms = for_.map_or(0, |for_| quantity::millis(for_).max(1));
            ("open the breaker", set(of, name, v1::BreakerState::Open, open_ms, reason))
        }
        BreakersCommand::Close { of, name, reason } => {
            ("close the breaker", set(of, name, v1::BreakerState::Closed, 0, reason))
        }
    };
    let breaker = answer(doing, resources.set_breaker(request).await)
        .map_err(|error| error.hint_if_missing("see `evenkeel breakers list --all`"))?;
    output.one(&BreakerView::from(breaker))?;
    Ok(Exit::Ok)
}

fn set(of: Scope, name: String, state: v1::BreakerState, open_ms: u64, reason: String) -> v1::SetBreakerRequest {
    let scope = v1::BreakerScope::from(of).into();
    v1::SetBreakerRequest { scope, name, state: state.into(), open_ms, reason }
}
