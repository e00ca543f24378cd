//! Where the load was: a row for each group of agents, a column for each stretch of time.

use super::{
    charts,
    page::{Page, Step},
    plot::{self, Axis, BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH},
};
use crate::record::RunRecord;

/// From idle to busy; cells of one level are one path, so that a fleet of 1,200 agents is a small page.
const LEVELS: [&str; 8] = ["heat h0", "heat h1", "heat h2", "heat h3", "heat h4", "heat h5", "heat h6", "heat h7"];
/// No agent of the row had a session.
const ABSENT: &str = "heat absent";

pub(super) fn map(page: &mut Page, record: &RunRecord) {
    let load = &record.agent_load;
    if load.rows.is_empty() || load.column_s <= 0.0 {
        return;
    }
    plot::frame(page, "Load by agent", "share of the slots that were busy (square root)", &[]);
    legend(page);
    plot::start(page, "Load by agent");
    let x = charts::time(record);
    let agents = load.rows.len() as f64 * f64::from(load.agents_per_row.max(1));
    let mut y = Axis::linear("agents", agents);
    y.high = agents;
    y.ticks.retain(|(value, _)| *value <= agents);
    plot::axes(page, &x, &y);
    let height = (HEIGHT - TOP - BOTTOM) / load.rows.len() as f64;
    for (level, class) in LEVELS.into_iter().chain([ABSENT]).enumerate() {
        let mut steps = Vec::new();
        for (at, row) in load.rows.iter().enumerate() {
            let bottom = HEIGHT - BOTTOM - at as f64 * height;
            for (from, to) in stretches(row, level) {
                let left = x.across(from as f64 * load.column_s);
                let right = x.across(to as f64 * load.column_s).clamp(LEFT, WIDTH - RIGHT);
                steps.extend([Step::Move(left, bottom), Step::Right(right - left), Step::Down(-height)]);
                steps.extend([Step::Right(left - right), Step::Close]);
            }
        }
        if !steps.is_empty() {
            page.path(class, steps.into_iter());
        }
    }
    plot::end(page);
}

fn legend(page: &mut Page) {
    page.raw(
        "<div class=\"legend\"><span>idle</span><span><svg class=\"scale\" viewBox=\"0 0 80 10\" aria-hidden=\"true\">",
    );
    for (level, class) in LEVELS.into_iter().enumerate() {
        let left = level as f64 * 10.0;
        let steps = [Step::Move(left, 0.0), Step::Right(10.0), Step::Down(10.0), Step::Right(-10.0), Step::Close];
        page.path(class, steps.into_iter());
    }
    page.raw("</svg></span><span>busy</span><span><svg class=\"key\" viewBox=\"0 0 26 10\" aria-hidden=\"true\">");
    page.raw("<path class=\"heat absent\" d=\"M0 0h26v10h-26z\"/></svg>not there</span></div>\n");
}

/// Where the row is of that level: from column to column.
fn stretches(row: &[Option<f32>], level: usize) -> Vec<(usize, usize)> {
    // By the root of the share: fleets are mostly far from busy, and a twentieth and a tenth are to be told apart.
    let of = |share: &Option<f32>| {
        share.map_or(LEVELS.len(), |share| ((share.max(0.0).sqrt() * 8.0) as usize).min(LEVELS.len() - 1))
    };
    let mut all: Vec<(usize, usize)> = Vec::new();
    for (at, _) in row.iter().enumerate().filter(|(_, share)| of(share) == level) {
        match all.last_mut() {
            Some(last) if last.1 == at => last.1 = at + 1,
            _ => all.push((at, at + 1)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_are_one_stretch_and_every_cell_is_in_one() {
        let row = [Some(0.0), Some(0.01), Some(1.0), None, Some(1.0), Some(1.0)];
        assert_eq!(stretches(&row, 0), [(0, 2)]);
        assert_eq!(stretches(&row, 7), [(2, 3), (4, 6)]);
        assert_eq!(stretches(&row, 8), [(3, 4)]);
        let cells: usize = (0..=8).flat_map(|level| stretches(&row, level)).map(|(from, to)| to - from).sum();
        assert_eq!(cells, row.len());
    }
}
