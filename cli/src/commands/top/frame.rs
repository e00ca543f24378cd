//! What one frame of `top` shows.

use std::time::{Duration, Instant};

use evenkeel_proto::v1;
use evenkeel_shared::wire::enums;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Row, Table},
};

use crate::output::table::{duration, percent, printable};

/// Rows of a frame that are no agent's: the summary, an empty line, the headers, and the last line.
pub const ROWS_BESIDE_AGENTS: u16 = 7;

/// Cells of a bar: what lets a row fit into 80 columns.
const BAR_CELLS: usize = 5;

/// The fleet at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was read.
    pub at: Instant,
    /// The cluster.
    pub status: v1::ClusterStatus,
    /// Its agents, by id.
    pub agents: Vec<v1::Agent>,
}

/// Draws `now`, with rates since `last`, and `help` in the last line, beside how many agents have no row.
pub fn draw(frame: &mut Frame, now: &Sample, last: &Sample, url: &str, help: &str) {
    let areas =
        Layout::vertical([Constraint::Length(4), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .split(frame.area());
    frame.render_widget(Paragraph::new(summary(now, last, url)), areas[0]);
    draw_agents(frame, areas[2], &now.agents);
    let rows = usize::from(areas[2].height.saturating_sub(1));
    let more = match now.agents.len().saturating_sub(rows) {
        0 => String::new(),
        1 => "1 more agent: evenkeel agents list".to_owned(),
        n => format!("{n} more agents: evenkeel agents list"),
    };
    let parts: Vec<&str> = [help, &more].into_iter().filter(|part| !part.is_empty()).collect();
    let help = Line::styled(parts.join("    "), Style::new().add_modifier(Modifier::DIM));
    frame.render_widget(Paragraph::new(help), areas[3]);
}

fn summary(now: &Sample, last: &Sample, url: &str) -> Vec<Line<'static>> {
    let status = &now.status;
    let seconds = now.at.saturating_duration_since(last.at).as_secs_f64();
    // A restarted coordinator counts from 0 again; the rate is then unknown for one interval, and shown as 0.
    let rate = |new: u64, old: u64| if seconds > 0.0 { new.saturating_sub(old) as f64 / seconds } else { 0.0 };
    let state = match (status.ready, status.panic_mode) {
        (true, false) => Span::styled("ready", Color::Green),
        (true, true) => Span::styled("panic mode", Color::Yellow),
        (false, _) => Span::styled("not ready", Color::Red),
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    vec![
        Line::from(vec![
            Span::styled("evenkeel ", bold),
            Span::raw(format!("{url}  ")),
            state,
            Span::raw(format!("  strategy {}", printable(&status.strategy))),
        ]),
        Line::raw(format!(
            "agents  {} healthy, {} degraded, {} unhealthy, {} lost    slots {} {}/{}",
            status.agents_healthy,
            status.agents_degraded,
            status.agents_unhealthy,
            status.agents_lost,
            bar(share(status.slots_used, status.slots_total)),
            status.slots_used,
            status.slots_total
        )),
        Line::raw(format!(
            "tasks   {} queued (oldest {}), {} assigned, {} running, {} wait for a retry",
            status.tasks_queued,
            duration(Duration::from_millis(status.oldest_queued_ms)),
            status.tasks_assigned,
            status.tasks_running,
            status.tasks_retry_wait
        )),
        Line::raw(format!(
            "rates   {:.1}/s accepted, {:.1}/s succeeded, {:.1}/s failed",
            rate(status.tasks_accepted, last.status.tasks_accepted),
            rate(status.tasks_succeeded, last.status.tasks_succeeded),
            rate(status.tasks_failed, last.status.tasks_failed)
        )),
    ]
}

fn draw_agents(frame: &mut Frame, area: Rect, agents: &[v1::Agent]) {
    let header = ["AGENT", "STATE", "SLOTS", "AHEAD", "CPU", "MEMORY", "DONE", "FAILED"];
    let widths = [
        Constraint::Min(10),
        Constraint::Length(9),
        Constraint::Length(13),
        Constraint::Length(5),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(6),
    ];
    let table = Table::new(agents.iter().map(agent_row), widths)
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::BOLD)));
    frame.render_widget(table, area);
}

fn agent_row(agent: &v1::Agent) -> Row<'static> {
    let slots = |resources: Option<&v1::Resources>| resources.map_or(0, |resources| resources.slots);
    let (used, total) = (slots(agent.reserved.as_ref()), slots(agent.capacity.as_ref()));
    let health = enums::health(agent.health).map_or("unknown", |health| health.name());
    let admin = enums::admin_state(agent.admin_state).map_or("unknown", |state| state.name());
    let (state, color) = match (health, admin) {
        ("healthy", "active") => (health, Color::Green),
        ("healthy", _) => (admin, Color::Yellow),
        ("degraded", _) => (health, Color::Yellow),
        _ => (health, Color::Red),
    };
    Row::new([
        Span::raw(printable(&agent.agent_id)),
        Span::styled(state, color),
        Span::raw(format!("{} {used}/{total}", bar(share(used, total)))),
        Span::raw(agent.prefetched_tasks.to_string()),
        Span::raw(format!("{} {}", bar(agent.cpu_share), percent(agent.cpu_share))),
        Span::raw(format!("{} {}", bar(agent.memory_share), percent(agent.memory_share))),
        Span::raw(agent.succeeded.to_string()),
        Span::raw(agent.failed.to_string()),
    ])
}

fn share(used: u32, total: u32) -> f64 {
    if total == 0 { 0.0 } else { f64::from(used) / f64::from(total) }
}

/// A bar of [`BAR_CELLS`] cells for a share of 0 to 1.
fn bar(share: f64) -> String {
    // Not a number counts as 0 in the conversion.
    let full = ((share.clamp(0.0, 1.0) * BAR_CELLS as f64).round() as usize).min(BAR_CELLS);
    "█".repeat(full) + &"░".repeat(BAR_CELLS - full)
}
