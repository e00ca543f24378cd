//! `evenkeel scaling`: how large the fleet should be, and why.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgGroup, Args, Subcommand};
use evenkeel_proto::v1;
use evenkeel_shared::dial::Channel;

use crate::{
    args::Global,
    commands::pages::{self, Stretch},
    exit::{CliError, Exit, Outcome, answer},
    output::scaling::{PolicyAdviceView, PolicyView, ScalingEventView, ScalingView, TemplateView, VersionView},
    quantity,
};

type Resources = v1::resource_service_client::ResourceServiceClient<Channel>;

/// What to do with scaling.
#[derive(Debug, Subcommand)]
pub enum ScalingCommand {
    /// Show how many agents there are, are wanted, and why
    Status,
    /// See, change and check the policy
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Show decisions with their reasons and what became of them, newest first
    Events(Stretch),
    /// Fix the number of agents for a while, whatever the policy says
    Override {
        /// How many
        agents: u32,
        /// For how long, at most a week
        #[arg(long = "for", value_name = "DURATION", value_parser = quantity::duration)]
        for_: Duration,
        /// Why, for the history
        #[arg(long)]
        reason: String,
    },
    /// Let the policy decide again
    Clear {
        /// Why, for the history
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show the policy in force; with -o json as `put --file` reads it
    Get,
    /// Put a policy in force, from a template or a file
    Put(PutArgs),
    /// Check a policy, and say what would be better; nothing is changed
    Validate(FromArgs),
    /// List the templates
    Templates,
    /// List the versions that were in force, newest first
    Versions {
        /// Show so many at most
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
}

/// Where a policy comes from.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("from").required(true).args(["template", "file"]))]
pub struct FromArgs {
    /// A template; `scaling policy templates` lists them
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// A file of JSON, as `scaling policy get -o json` prints it; - is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Its name [default: the template's, or as the file says]
    #[arg(long)]
    name: Option<String>,
    /// Agents at least [default: the template's, or as the file says; the same for the options below]
    #[arg(long, value_name = "AGENTS")]
    min: Option<u32>,
    /// Agents at most
    #[arg(long, value_name = "AGENTS")]
    max: Option<u32>,
    /// Per cent of the slots that should be in use
    #[arg(long, value_name = "PERCENT")]
    utilisation: Option<u32>,
    /// Per cent of the score above which agents are added
    #[arg(long, value_name = "PERCENT")]
    up: Option<u32>,
    /// Per cent of the score below which agents are removed
    #[arg(long, value_name = "PERCENT")]
    down: Option<u32>,
}

/// Arguments of `scaling policy put`.
#[derive(Debug, Args)]
pub struct PutArgs {
    #[command(flatten)]
    from: FromArgs,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Carries it out.
///
/// # Errors
/// If a policy is refused, or the coordinator does not answer.
pub async fn run(command: ScalingCommand, global: &Global) -> Outcome {
    let mut resources = global.address()?.connect().await?.resources;
    let scaling = match command {
        ScalingCommand::Policy(command) => return policy(command, &mut resources, global).await,
        ScalingCommand::Events(stretch) => return events(&mut resources, &stretch, global).await,
        ScalingCommand::Status => answer("read the scaling", resources.get_scaling(v1::GetScalingRequest {}).await)?,
        ScalingCommand::Override { agents, for_, reason } => {
            let request = v1::SetScalingOverrideRequest { agents, duration_ms: quantity::millis(for_), reason };
            answer("fix the number of agents", resources.set_scaling_override(request).await)?
        }
        ScalingCommand::Clear { reason } => {
            let request = v1::ClearScalingOverrideRequest { reason };
            answer("clear the override", resources.clear_scaling_override(request).await)?
        }
    };
    global.output().one(&ScalingView::from(scaling))?;
    Ok(Exit::Ok)
}

async fn policy(command: PolicyCommand, resources: &mut Resources, global: &Global) -> Outcome {
    let output = global.output();
    match command {
        PolicyCommand::Get => {
            let policy = answer("read the policy", resources.get_scaling_policy(v1::GetScalingPolicyRequest {}).await)
                .map_err(|error| error.hint_if_missing("put one with `evenkeel scaling policy put --template`"))?;
            output.one(&PolicyView::from(policy))?;
        }
        PolicyCommand::Put(args) => {
            let policy = args.from.policy(resources).await?;
            let request = v1::PutScalingPolicyRequest { policy: Some(policy), reason: args.reason };
            let put = answer("put the policy", resources.put_scaling_policy(request).await)?;
            for advice in &put.advice {
                eprintln!("advice: {}: {}", advice.field, advice.advice);
            }
            output.one(&PolicyView::from(put.policy.unwrap_or_default()))?;
        }
        PolicyCommand::Validate(from) => {
            let policy = from.policy(resources).await?;
            let request = v1::ValidateScalingPolicyRequest { policy: Some(policy) };
            let checked = answer("check the policy", resources.validate_scaling_policy(request).await)?;
            let advice: Vec<_> = checked.advice.into_iter().map(PolicyAdviceView::from).collect();
            output.list(&advice, "the policy is sound")?;
            if !checked.valid {
                return Ok(Exit::Usage);
            }
        }
        PolicyCommand::Templates => {
            output.list(&templates(resources).await?, "no templates")?;
        }
        PolicyCommand::Versions { limit } => {
            let request = v1::ListScalingPolicyVersionsRequest { limit };
            let versions = answer("list the versions", resources.list_scaling_policy_versions(request).await)?.versions;
            let versions: Vec<_> = versions.into_iter().map(VersionView::from).collect();
            output.list(&versions, "no policy was ever put")?;
        }
    }
    Ok(Exit::Ok)
}

async fn templates(resources: &mut Resources) -> Result<Vec<TemplateView>, CliError> {
    let request = v1::ListScalingTemplatesRequest {};
    let templates = answer("list the templates", resources.list_scaling_templates(request).await)?.templates;
    Ok(templates.into_iter().map(TemplateView::from).collect())
}

impl FromArgs {
    /// The policy that is meant.
    async fn policy(self, resources: &mut Resources) -> Result<v1::ScalingPolicy, CliError> {
        let policy = match (&self.template, &self.file) {
            (Some(template), _) => {
                let all = templates(resources).await?;
                let names: Vec<_> = all.iter().map(|template| template.name.clone()).collect();
                let found = all.into_iter().find(|found| found.name == *template);
                let found = found.ok_or_else(|| {
                    CliError::new(Exit::NotFound, format!("there is no template `{template}`"))
                        .hint(format!("there are: {}", names.join(", ")))
                })?;
                found.policy
            }
            (None, Some(file)) => read(file)?,
            (None, None) => PolicyView::default(),
        };
        self.over(policy)
            .try_into()
            .map_err(|wrong: String| CliError::usage("the policy cannot be read").because(wrong))
    }

    /// What was asked for, over the policy.
    fn over(self, policy: PolicyView) -> PolicyView {
        PolicyView {
            name: self.name.unwrap_or(policy.name),
            agents_min: self.min.unwrap_or(policy.agents_min),
            agents_max: self.max.unwrap_or(policy.agents_max),
            utilisation_target_percent: self.utilisation.unwrap_or(policy.utilisation_target_percent),
            scale_up_percent: self.up.unwrap_or(policy.scale_up_percent),
            scale_down_percent: self.down.unwrap_or(policy.scale_down_percent),
            ..policy
        }
    }
}

fn read(file: &Path) -> Result<PolicyView, CliError> {
    let cannot = |why: String| CliError::usage(format!("cannot read a policy from `{}`", file.display())).because(why);
    let text =
        if file == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    let text = text.map_err(|error| cannot(error.to_string()))?;
    serde_json::from_str(&text)
        .map_err(|error| cannot(error.to_string()).hint("write it as `evenkeel scaling policy get -o json` prints it"))
}

async fn events(resources: &mut Resources, stretch: &Stretch, global: &Global) -> Outcome {
    let request = v1::ListScalingEventsRequest {
        from_unix_ms: stretch.begins_unix_ms(),
        to_unix_ms: stretch.ends_unix_ms(),
        page_size: stretch.page_size(),
        page_token: String::new(),
    };
    let read = async |page_token| {
        let request = v1::ListScalingEventsRequest { page_token, ..request.clone() };
        let page = answer("read the decisions", resources.list_scaling_events(request).await)?;
        Ok((page.events, page.next_page_token))
    };
    let output = global.output();
    pages::each(stretch.limit as usize, read, |event| Ok(output.event(&ScalingEventView::from(event))?)).await?;
    Ok(Exit::Ok)
}
