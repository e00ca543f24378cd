//! `evenkeel task submit`.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use evenkeel_proto::v1;
use evenkeel_shared::{
    limits::{PAYLOAD_BYTES_MAX, SUBMIT_TASKS_MAX},
    wire,
};

use super::{SpecArgs, follow};
use crate::{
    args::Global,
    client::Clients,
    exit::{CliError, Exit, Outcome},
    output::answer::SubmittedView,
    quantity,
    traces::Traces,
};

/// Bytes of tasks in one request: half of what one message may hold, so that the rest of the message has room.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// What a task takes in a request beside its payload, at most for ordinary ones.
const SPEC_BYTES: usize = 2 << 10;
/// Tasks of one command: beyond it a program should submit, with a stream.
const COUNT_MAX: u32 = 1_000_000;

/// Arguments of `task submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// What is to be done; an agent says which kinds it takes
    #[arg(long)]
    kind: String,
    /// What it is to be done with, as text
    #[arg(long, value_name = "TEXT", conflicts_with = "payload_file")]
    payload: Option<String>,
    /// The same from a file; - is stdin
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    #[command(flatten)]
    spec: SpecArgs,
    /// Tasks of one key go to the same agent, where the strategy is consistent_hash
    #[arg(long, value_name = "KEY")]
    affinity: Option<String>,
    /// Keep the task in the coordinator's memory only: faster, lost if the coordinator dies
    #[arg(long)]
    ephemeral: bool,
    /// Idempotency key: with the same key and content the same task is answered. With --count, -1, -2 and so on is appended
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Submit so many tasks alike
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    count: u32,
    /// Wait until they are over, and print what became of them
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this [default: for ever]
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = quantity::duration)]
    wait_timeout: Option<Duration>,
    /// With --wait: print the outputs alone, byte for byte
    #[arg(long, requires = "wait")]
    raw: bool,
}

/// Submits, and waits if asked to.
///
/// # Errors
/// If a task is refused; those accepted before it are printed first.
pub async fn run(args: SubmitArgs, global: &Global) -> Outcome {
    let specs = specs(&args)?;
    let mut clients = global.address()?.connect().await?;
    let traces = Traces::from_environment()?;
    let (submitted, refused) = submit(&mut clients, specs, &traces).await;
    traces.stop().await;
    if args.wait && !submitted.is_empty() && refused.is_none() {
        let ids = submitted.into_iter().map(|task| task.task_id).collect();
        return follow::wait_for(&mut clients, ids, args.wait_timeout, args.raw, global).await;
    }
    if !submitted.is_empty() {
        global.output().list(&submitted, "")?;
    }
    refused.map_or(Ok(Exit::Ok), Err)
}

/// The tasks that the arguments describe, made one by one as they are sent.
fn specs(args: &SubmitArgs) -> Result<impl Iterator<Item = v1::TaskSpec> + use<>, CliError> {
    let payload = match (&args.payload, &args.payload_file) {
        (Some(text), _) => Bytes::copy_from_slice(text.as_bytes()),
        (None, Some(path)) => read_payload(path)?,
        (None, None) => Bytes::new(),
    };
    let delivery = if args.ephemeral { v1::Delivery::Ephemeral } else { v1::Delivery::Durable };
    let spec = v1::TaskSpec {
        payload,
        affinity_key: args.affinity.clone().unwrap_or_default(),
        delivery: delivery.into(),
        idempotency_key: args.key.clone().unwrap_or_default(),
        ..args.spec.spec(&args.kind)
    };
    let keyed = args.key.is_some() && args.count > 1;
    Ok((1..=args.count).map(move |n| {
        let mut spec = spec.clone();
        if keyed {
            spec.idempotency_key = format!("{}-{n}", spec.idempotency_key);
        }
        spec
    }))
}

/// Reads a payload, but no more of it than a task may have: a device has no end.
fn read_payload(path: &Path) -> Result<Bytes, CliError> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let limit = PAYLOAD_BYTES_MAX as u64 + 1;
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        CliError::new(Exit::Error, format!("could not read the payload from {shown}")).because(error)
    })?;
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return Err(CliError::usage(format!("the payload in {shown} is larger than {PAYLOAD_BYTES_MAX} bytes"))
            .hint("put it where the agents can read it, and send its name"));
    }
    Ok(bytes.into())
}

/// Submits in requests as large as allowed; ends at the first task that is refused.
async fn submit(
    clients: &mut Clients,
    specs: impl Iterator<Item = v1::TaskSpec>,
    traces: &Traces,
) -> (Vec<SubmittedView>, Option<CliError>) {
    let mut submitted = Vec::new();
    let mut specs = specs.peekable();
    while let Some(first) = specs.peek() {
        let size = SPEC_BYTES + first.payload.len();
        let mut tasks: Vec<_> = specs.by_ref().take((REQUEST_BYTES_MAX / size).clamp(1, SUBMIT_TASKS_MAX)).collect();
        let submission = traces.begins(&mut tasks);
        let answer = clients.tasks.submit(v1::SubmitRequest { tasks }).await;
        traces.ends(submission, answer.as_ref().err().map(tonic::Status::message));
        let answer = match answer {
            Ok(answer) => answer.into_inner(),
            Err(status) => return (submitted, Some(CliError::status("submit the task", &status))),
        };
        for result in answer.results {
            if let Some(error) = result.error {
                let doing = format!("submit task {}", submitted.len() + 1);
                return (submitted, Some(CliError::answered(&doing, wire::status::from_item_error(error))));
            }
            submitted.push(SubmittedView { task_id: result.task_id, duplicate: result.duplicate });
        }
    }
    (submitted, None)
}
