//! `evenkeel top`: the fleet live on the terminal.
//!
//! Every interval the status and the agents are read and drawn anew; keys come from a thread of their own, since reading a
//! terminal blocks. `--once` prints one frame as text, for logs and tests. What is drawn is in `frame`.

mod frame;

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use clap::Args;
use crossterm::event::{Event, KeyCode, KeyModifiers};
use evenkeel_proto::v1;
use ratatui::{Terminal, backend::TestBackend};
use tokio::sync::mpsc;

use crate::{
    args::Global,
    client::Clients,
    exit::{CliError, Exit, Outcome},
    quantity,
};
use frame::Sample;

/// Agents shown: more than fit on any screen.
const AGENTS_MAX: u32 = 500;
/// Shortest interval: reading faster only adds load.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Columns and rows of `--once` without a terminal.
const PLAIN_SIZE: (u16, u16) = (120, 40);
/// The last line, and what it says while the coordinator does not answer: what is shown above is then the last that was read.
const HELP: &str = "q quits";
const NO_ANSWER: &str = "the coordinator does not answer: this is how it was; trying again. q quits";
/// Keys not handled yet; a person types no faster.
const KEYS_MAX: usize = 16;

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Print one frame as text, with all agents, and exit
    #[arg(long)]
    once: bool,
    /// Time between two frames
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = quantity::duration)]
    interval: Duration,
}

/// Shows the fleet until `q`, Esc or Ctrl-C.
///
/// # Errors
/// If the coordinator does not answer, or stdout is no terminal.
pub async fn run(args: TopArgs, global: &Global) -> Outcome {
    let interval = args.interval.max(INTERVAL_MIN);
    let address = global.address()?;
    let mut clients = address.connect().await?;
    if args.once {
        let first = sample(&mut clients).await?;
        tokio::time::sleep(interval).await;
        let second = sample(&mut clients).await?;
        let (width, height) = crossterm::terminal::size().unwrap_or(PLAIN_SIZE);
        // Text can be scrolled, so all agents are in it.
        let rows = u16::try_from(second.agents.len()).unwrap_or(u16::MAX).saturating_add(frame::ROWS_BESIDE_AGENTS);
        let size = (width, height.max(rows));
        global.output().raw(plain(&second, &first, address.url(), size)?.as_bytes())?;
        return Ok(Exit::Ok);
    }
    if !std::io::stdout().is_terminal() {
        return Err(CliError::usage("`top` needs a terminal").hint("use `evenkeel top --once`, or `evenkeel status`"));
    }
    let first = sample(&mut clients).await?;
    let mut terminal = ratatui::try_init()?;
    let shown = live(&mut terminal, &mut clients, first, interval, address.url()).await;
    ratatui::restore();
    shown
}

async fn live(
    terminal: &mut ratatui::DefaultTerminal,
    clients: &mut Clients,
    first: Sample,
    interval: Duration,
    url: &str,
) -> Outcome {
    let mut keys = keys();
    let mut ticks = tokio::time::interval(interval);
    let (mut last, mut now) = (first.clone(), first);
    let mut help = HELP;
    loop {
        terminal.draw(|frame| frame::draw(frame, &now, &last, url, help))?;
        tokio::select! {
            _ = ticks.tick() => match sample(clients).await {
                Ok(next) => {
                    last = std::mem::replace(&mut now, next);
                    help = HELP;
                }
                // A restart of the coordinator is what somebody may be watching for.
                Err(error) if error.exit == Exit::Unreachable => help = NO_ANSWER,
                Err(error) => return Err(error),
            },
            event = keys.recv() => match event {
                Some(event) if !quits(&event) => {}
                _ => return Ok(Exit::Ok),
            },
        }
    }
}

fn quits(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    ctrl_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

/// Keys and resizes, from a thread that ends with the process: reading cannot be interrupted.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while let Ok(event) = crossterm::event::read() {
            if sender.blocking_send(event).is_err() {
                break;
            }
        }
    });
    receiver
}

async fn sample(clients: &mut Clients) -> Result<Sample, CliError> {
    let failed = |status| CliError::status("read the fleet", &status);
    let request = v1::ListAgentsRequest { page_size: AGENTS_MAX, ..v1::ListAgentsRequest::default() };
    let mut tasks = clients.cluster.clone();
    let (status, agents) = tokio::join!(tasks.status(v1::StatusRequest {}), clients.cluster.list_agents(request));
    Ok(Sample {
        at: Instant::now(),
        status: status.map_err(failed)?.into_inner(),
        agents: agents.map_err(failed)?.into_inner().agents,
    })
}

/// A frame as text.
fn plain(now: &Sample, last: &Sample, url: &str, size: (u16, u16)) -> Result<String, CliError> {
    let (width, height) = size;
    let drawn = |error| CliError::new(Exit::Error, "could not draw the frame").because(error);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).map_err(drawn)?;
    let frame = terminal.draw(|frame| frame::draw(frame, now, last, url, "")).map_err(drawn)?;
    let cells: Vec<&str> = frame.buffer.content().iter().map(|cell| cell.symbol()).collect();
    let lines = cells.chunks(width.max(1).into()).map(|line| line.concat().trim_end().to_owned());
    Ok(lines.collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str, used: u32) -> v1::Agent {
        let slots = |slots| Some(v1::Resources { slots, ..v1::Resources::default() });
        v1::Agent {
            agent_id: id.into(),
            capacity: slots(4),
            reserved: slots(used),
            slots_usable: 4,
            cpu_share: 0.5,
            health: v1::Health::Healthy.into(),
            admin_state: v1::AdminState::Active.into(),
            ..v1::Agent::default()
        }
    }

    #[test]
    fn a_frame_shows_agents_queue_and_rates() {
        let last = Sample { at: Instant::now(), status: v1::ClusterStatus::default(), agents: Vec::new() };
        let status = v1::ClusterStatus { tasks_succeeded: 50, tasks_queued: 7, ..v1::ClusterStatus::default() };
        let now =
            Sample { at: last.at + Duration::from_secs(2), status, agents: vec![agent("a-1", 4), agent("a-2", 1)] };
        let text = plain(&now, &last, "http://test", (80, 24)).unwrap();
        for part in ["http://test", "a-1", "a-2", "4/4", "1/4", "50%", "25.0/s", "7 queued"] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn agents_for_which_there_is_no_row_are_counted() {
        let status = v1::ClusterStatus { oldest_queued_ms: 754_000, ..v1::ClusterStatus::default() };
        let agents = (0..30).map(|n| agent(&format!("a-{n}"), 0)).collect();
        let now = Sample { at: Instant::now(), status, agents };
        let check = |height, shown: &str| {
            let text = plain(&now, &now, "http://test", (80, height)).unwrap();
            assert_eq!(text.lines().last().unwrap(), shown, "{text}");
            assert!(text.contains("oldest 12m 34s"), "{text}");
        };
        check(24, "13 more agents: evenkeel agents list");
        let all = 30 + frame::ROWS_BESIDE_AGENTS;
        check(all - 1, "1 more agent: evenkeel agents list");
        assert!(plain(&now, &now, "", (80, all)).unwrap().trim_end().ends_with(" 0"), "the last line is an agent");
    }
}
