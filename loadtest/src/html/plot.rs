//! Lines over an axis, as SVG.

use super::page::{Page, Step};

/// Of the picture, in its own units; it is as wide as there is room.
pub(super) const WIDTH: f64 = 520.0;
pub(super) const HEIGHT: f64 = 280.0;
/// Room for the axes.
pub(super) const LEFT: f64 = 56.0;
pub(super) const RIGHT: f64 = 12.0;
pub(super) const TOP: f64 = 22.0;
pub(super) const BOTTOM: f64 = 44.0;
/// Points of a line at most: more than there are dots on a screen make a page that is slow to open.
const POINTS_MAX: usize = 600;
/// Marks that are told by a number; more would cover each other.
const MARKS_MAX: usize = 60;

/// An axis from a value to another one.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub name: &'static str,
    pub low: f64,
    pub high: f64,
    pub log: bool,
    /// Where it has a tick, and what is written there.
    pub ticks: Vec<(f64, String)>,
}

/// A line: its points in order; not a number where it is broken.
pub(super) struct Line {
    pub name: &'static str,
    pub class: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// A moment that is worth a mark.
pub(super) struct Moment {
    pub at: f64,
    pub class: &'static str,
    pub text: String,
}

/// A picture with lines.
pub(super) struct Plot {
    pub title: &'static str,
    pub about: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    pub moments: Vec<Moment>,
    /// Stretches that are shaded.
    pub bands: Vec<(f64, f64)>,
}

impl Axis {
    /// From zero, with a step of 1, 2 or 5.
    pub(super) fn linear(name: &'static str, high: f64) -> Self {
        let high = if high > 0.0 && high.is_finite() { high } else { 1.0 };
        let step = step(high / 4.0);
        let count = (high / step).ceil() as u32;
        let ticks = (0..=count).map(|at| f64::from(at) * step).map(|value| (value, short(value)));
        Self { name, low: 0.0, high: f64::from(count) * step, log: false, ticks: ticks.collect() }
    }

    /// Powers of ten that hold all values.
    pub(super) fn log(name: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if high <= 0.0 {
            (low, high) = (1.0, 10.0);
        }
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let last = last.max(first + 1);
        // Two decades need ticks between.
        let between: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let end = 10_f64.powi(last);
        let of_decade = |decade: i32| between.iter().map(move |factor| factor * 10_f64.powi(decade));
        let ticks = (first..=last).flat_map(of_decade).filter(|value| *value <= end * 1.001);
        let ticks = ticks.map(|value| (value, short(value))).collect();
        Self { name, low: 10_f64.powi(first), high: end, log: true, ticks }
    }

    /// Seconds since the start, or minutes of a long run.
    pub(super) fn time(end_s: f64) -> Self {
        let minutes = end_s > 600.0;
        let unit = if minutes { 60.0 } else { 1.0 };
        let axis =
            Self::linear(if minutes { "minutes since the start" } else { "seconds since the start" }, end_s / unit);
        let ticks = axis.ticks.into_iter().map(|(value, text)| (value * unit, text)).filter(|(at, _)| *at <= end_s);
        Self { low: 0.0, high: end_s.max(1.0), ticks: ticks.collect(), ..axis }
    }

    /// 0 at the low end, 1 at the high end.
    pub(super) fn share(&self, value: f64) -> f64 {
        let scaled = |value: f64| if self.log { value.max(self.low).log10() } else { value };
        ((scaled(value) - scaled(self.low)) / (scaled(self.high) - scaled(self.low))).clamp(0.0, 1.0)
    }

    pub(super) fn across(&self, value: f64) -> f64 {
        LEFT + self.share(value) * (WIDTH - LEFT - RIGHT)
    }

    pub(super) fn up(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.share(value) * (HEIGHT - TOP - BOTTOM)
    }
}

/// The step of 1, 2 or 5 times a power of ten that is at least this.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors.map(|factor| factor * power).into_iter().find(|step| *step >= least * 0.999).unwrap_or(least)
}

/// A number as it is read at a glance.
pub(super) fn short(value: f64) -> String {
    let trimmed = |value: f64, digits: usize| {
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    match value.abs() {
        size if size >= 1e6 => format!("{}M", trimmed(value / 1e6, 1)),
        size if size >= 1e4 => format!("{}k", trimmed(value / 1e3, 1)),
        size if size >= 100.0 => trimmed(value, 0),
        size if size >= 1.0 => trimmed(value, 1),
        0.0 => "0".to_owned(),
        _ => trimmed(value, 3),
    }
}

/// Thins a series out; of each stretch that becomes one point, `pick` chooses the value.
pub(super) fn thinned(points: Vec<(f64, f64)>, pick: fn(&[(f64, f64)]) -> f64) -> Vec<(f64, f64)> {
    if points.len() <= POINTS_MAX {
        return points;
    }
    let size = points.len().div_ceil(POINTS_MAX);
    points.chunks(size).map(|chunk| (chunk[chunk.len() - 1].0, pick(chunk))).collect()
}

/// The largest: for tails and peaks.
pub(super) fn largest(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|(_, value)| *value).fold(f64::NAN, f64::max)
}

/// The mean of what is there.
pub(super) fn average(points: &[(f64, f64)]) -> f64 {
    let there: Vec<f64> = points.iter().map(|(_, value)| *value).filter(|value| value.is_finite()).collect();
    there.iter().sum::<f64>() / there.len() as f64
}

impl Plot {
    /// Writes the picture with its title and legend.
    pub(super) fn write(&self, page: &mut Page) {
        frame(page, self.title, self.about, &self.lines);
        start(page, self.title);
        for &(from, to) in &self.bands {
            let (from, to) = (self.x.across(from), self.x.across(to));
            page.raw("<rect class=\"band\"");
            page.numbers(&[
                ("x", from),
                ("y", TOP),
                ("width", (to - from).max(1.0)),
                ("height", HEIGHT - TOP - BOTTOM),
            ]);
            page.raw("/>\n");
        }
        axes(page, &self.x, &self.y);
        for line in &self.lines {
            page.path(line.class, steps(&line.points, &self.x, &self.y));
        }
        for (number, moment) in self.moments.iter().enumerate().take(MARKS_MAX) {
            self.moment(page, number + 1, moment);
        }
        end(page);
    }

    fn moment(&self, page: &mut Page, number: usize, moment: &Moment) {
        let x = self.x.across(moment.at);
        page.raw("<g class=\"");
        page.raw(moment.class);
        page.raw("\"><title>");
        page.text(format_args!("{number}: {:.1} s, {}", moment.at, moment.text));
        page.raw("</title><line");
        page.numbers(&[("x1", x), ("x2", x), ("y1", TOP), ("y2", HEIGHT - BOTTOM)]);
        page.raw("/><text text-anchor=\"middle\"");
        // Neighbours at two heights, so that their numbers can be read.
        page.numbers(&[("x", x), ("y", if number % 2 == 1 { TOP - 3.0 } else { TOP - 12.0 })]);
        page.raw(">");
        page.text(number);
        page.raw("</text></g>\n");
    }
}

fn steps(points: &[(f64, f64)], x: &Axis, y: &Axis) -> impl Iterator<Item = Step> {
    let mut drawing = false;
    points.iter().filter_map(move |&(at, value)| {
        let there = value.is_finite();
        let step = if drawing { Step::Line } else { Step::Move };
        drawing = there;
        there.then(|| step(x.across(at), y.up(value)))
    })
}

/// Title, what it is about, and the legend.
pub(super) fn frame(page: &mut Page, title: &'static str, about: &'static str, lines: &[Line]) {
    page.raw("<figure class=\"chart\">\n<figcaption><strong>");
    page.text(title);
    page.raw("</strong> <span class=\"quiet\">");
    page.text(about);
    page.raw("</span></figcaption>\n<div class=\"legend\">");
    for line in lines.iter().filter(|line| !line.name.is_empty()) {
        page.raw("<span><svg class=\"key\" viewBox=\"0 0 26 10\" aria-hidden=\"true\"><path class=\"");
        page.raw(line.class);
        page.raw("\" d=\"M0 5L26 5\"/></svg>");
        page.text(line.name);
        page.raw("</span>");
    }
    page.raw("</div>\n");
}

pub(super) fn start(page: &mut Page, title: &'static str) {
    page.raw("<svg class=\"plot\" role=\"img\" aria-label=\"");
    page.text(title);
    page.raw("\" viewBox=\"0 0 520 280\">\n");
}

pub(super) fn end(page: &mut Page) {
    page.raw("</svg>\n</figure>\n");
}

pub(super) fn axes(page: &mut Page, x: &Axis, y: &Axis) {
    for (value, text) in &y.ticks {
        let at = y.up(*value);
        page.raw("<line class=\"grid\"");
        page.numbers(&[("x1", LEFT), ("x2", WIDTH - RIGHT), ("y1", at), ("y2", at)]);
        page.raw("/><text class=\"tick\" text-anchor=\"end\"");
        page.numbers(&[("x", LEFT - 6.0), ("y", at + 4.0)]);
        page.raw(">");
        page.text(text);
        page.raw("</text>\n");
    }
    for (value, text) in &x.ticks {
        let at = x.across(*value);
        page.raw("<line class=\"grid\"");
        page.numbers(&[("x1", at), ("x2", at), ("y1", TOP), ("y2", HEIGHT - BOTTOM)]);
        // At the edge of the picture half of a long label would be cut off.
        let last = at > WIDTH - RIGHT - 12.0;
        page.raw(if last {
            "/><text class=\"tick\" text-anchor=\"end\""
        } else {
            "/><text class=\"tick\" text-anchor=\"middle\""
        });
        page.numbers(&[("x", if last { WIDTH - 2.0 } else { at }), ("y", HEIGHT - BOTTOM + 16.0)]);
        page.raw(">");
        page.text(text);
        page.raw("</text>\n");
    }
    page.raw("<text class=\"axis\" text-anchor=\"middle\"");
    page.numbers(&[("x", LEFT + (WIDTH - LEFT - RIGHT) / 2.0), ("y", HEIGHT - 8.0)]);
    page.raw(">");
    page.text(x.name);
    page.raw("</text>\n<text class=\"axis\" text-anchor=\"middle\" transform=\"rotate(-90)\"");
    page.numbers(&[("x", -(TOP + (HEIGHT - TOP - BOTTOM) / 2.0)), ("y", 13.0)]);
    page.raw(">");
    page.text(y.name);
    page.raw("</text>\n");
}
