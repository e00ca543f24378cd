//! `evenkeel advice`: what to change, why, and how sure that is.

use clap::{Subcommand, ValueEnum};
use evenkeel_proto::v1;

use super::pages::{self, PAGE_SIZE};
use crate::{
    args::Global,
    client::Clients,
    exit::{CliError, Exit, Outcome, answer},
    output::health::RecommendationView,
};

/// What to do with advice.
#[derive(Debug, Subcommand)]
pub enum AdviceCommand {
    /// List advice
    List {
        /// Only in this state
        #[arg(long, value_enum, default_value_t = State::Open)]
        state: State,
        /// Only of this kind
        #[arg(long, value_enum)]
        kind: Option<Kind>,
    },
    /// Show one recommendation with its evidence
    Show {
        /// Its id
        id: String,
    },
    /// Do what is recommended
    Apply(One),
    /// Take back what was applied
    Undo(One),
    /// Say that it is not wanted; it does not come back for a week
    Dismiss(One),
}

/// A recommendation, and why.
#[derive(Debug, clap::Args)]
pub struct One {
    /// Its id
    id: String,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// The state of advice, as a filter.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    Open,
    Applied,
    Dismissed,
    All,
}

/// The kind of advice, as a filter.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    RightSize,
    Schedule,
    Cost,
    Performance,
}

/// Carries it out.
///
/// # Errors
/// If there is no such recommendation, its state does not allow it, or the coordinator does not answer.
pub async fn run(command: AdviceCommand, global: &Global) -> Outcome {
    let mut clients = global.address()?.connect().await?;
    let resources = &mut clients.resources;
    let (doing, done) = match command {
        AdviceCommand::List { state, kind } => {
            let found = all(&mut clients, state, kind).await?;
            global.output().list(&found, "no advice: nothing was found that would be better")?;
            return Ok(Exit::Ok);
        }
        AdviceCommand::Show { id } => {
            let found = all(&mut clients, State::All, None).await?.into_iter().find(|found| found.id == id);
            let found = found.ok_or_else(|| {
                CliError::new(Exit::NotFound, format!("there is no recommendation `{id}`")).hint(HINT)
            })?;
            global.output().one(&found)?;
            return Ok(Exit::Ok);
        }
        AdviceCommand::Apply(one) => ("apply the advice", resources.apply_recommendation(request(one)).await),
        AdviceCommand::Undo(one) => ("undo the advice", resources.undo_recommendation(request(one)).await),
        AdviceCommand::Dismiss(one) => ("dismiss the advice", resources.dismiss_recommendation(request(one)).await),
    };
    let changed = answer(doing, done).map_err(|error| error.hint_if_missing(HINT))?;
    global.output().one(&RecommendationView::from(changed))?;
    Ok(Exit::Ok)
}

const HINT: &str = "see `evenkeel advice list --state all`";

fn request(one: One) -> v1::RecommendationRequest {
    v1::RecommendationRequest { id: one.id, reason: one.reason }
}

async fn all(clients: &mut Clients, state: State, kind: Option<Kind>) -> Result<Vec<RecommendationView>, CliError> {
    use v1::{RecommendationKind as K, RecommendationState as S};
    let state = match state {
        State::All => S::Unspecified,
        State::Open => S::Open,
        State::Applied => S::Applied,
        State::Dismissed => S::Dismissed,
    };
    let kind = kind.map_or(K::Unspecified, |kind| match kind {
        Kind::RightSize => K::RightSize,
        Kind::Schedule => K::Schedule,
        Kind::Cost => K::Cost,
        Kind::Performance => K::Performance,
    });
    let request = v1::ListRecommendationsRequest {
        state: state.into(),
        kind: kind.into(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let read = async |page_token| {
        let request = v1::ListRecommendationsRequest { page_token, ..request.clone() };
        let page = answer("list advice", clients.resources.list_recommendations(request).await)?;
        Ok((page.recommendations, page.next_page_token))
    };
    Ok(pages::all(read).await?.into_iter().map(RecommendationView::from).collect())
}
