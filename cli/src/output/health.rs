//! The health of the fleet, what holds it up, and what to change, as printed.

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Row, Show,
    table::{self, Cell, Style, Tone},
    time, word,
};

/// The fleet's health. The fields are those of `FleetHealth` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct HealthView {
    pub score: f64,
    pub parts: Vec<PartView>,
    pub pools: Vec<PoolView>,
    pub agents: Vec<AgentHealthView>,
    pub bottlenecks: Vec<BottleneckView>,
    pub caches: Vec<CacheView>,
}

/// A part of a score.
#[derive(Clone, Debug, Serialize)]
pub struct PartView {
    pub name: String,
    pub score: f64,
    pub weight: f64,
    pub reason: String,
}

/// The health of an agent.
#[derive(Clone, Debug, Serialize)]
pub struct AgentHealthView {
    pub agent_id: String,
    pub score: f64,
    pub parts: Vec<PartView>,
}

/// Agents that are alike.
#[derive(Clone, Debug, Serialize)]
pub struct PoolView {
    pub name: String,
    pub agents: u32,
    pub slots_total: u32,
    pub slots_used: u32,
    pub utilisation: f64,
    pub cpu_share_mean: f64,
    pub memory_share_mean: f64,
    pub queued: u64,
}

/// Something that holds the fleet up. The fields are those of `Bottleneck` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct BottleneckView {
    pub metric: String,
    pub subject: String,
    pub severity: String,
    pub value: f64,
    pub threshold: f64,
    pub since_unix_ms: Option<i64>,
    pub frequency: u32,
    pub active: bool,
    pub advice: String,
}

/// A cache of the coordinator.
#[derive(Clone, Debug, Serialize)]
pub struct CacheView {
    pub name: String,
    pub entries: u64,
    pub capacity: u64,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub hit_ratio: f64,
    pub advice: String,
}

impl From<v1::HealthPart> for PartView {
    fn from(wire: v1::HealthPart) -> Self {
        Self { name: wire.name, score: wire.score, weight: wire.weight, reason: wire.reason }
    }
}

impl From<v1::AgentHealth> for AgentHealthView {
    fn from(wire: v1::AgentHealth) -> Self {
        let parts = wire.parts.into_iter().map(Into::into).collect();
        Self { agent_id: wire.agent_id, score: wire.score, parts }
    }
}

impl From<v1::Pool> for PoolView {
    fn from(wire: v1::Pool) -> Self {
        Self {
            name: wire.name,
            agents: wire.agents,
            slots_total: wire.slots_total,
            slots_used: wire.slots_used,
            utilisation: wire.utilisation,
            cpu_share_mean: wire.cpu_share_mean,
            memory_share_mean: wire.memory_share_mean,
            queued: wire.queued,
        }
    }
}

impl From<v1::Bottleneck> for BottleneckView {
    fn from(wire: v1::Bottleneck) -> Self {
        Self {
            severity: word(wire.severity().as_str_name(), "SEVERITY_"),
            metric: wire.metric,
            subject: wire.subject,
            value: wire.value,
            threshold: wire.threshold,
            since_unix_ms: time(wire.since_unix_ms),
            frequency: wire.frequency,
            active: wire.active,
            advice: wire.advice,
        }
    }
}

impl From<v1::CacheStatistics> for CacheView {
    fn from(wire: v1::CacheStatistics) -> Self {
        Self {
            name: wire.name,
            entries: wire.entries,
            capacity: wire.capacity,
            hits: wire.hits,
            misses: wire.misses,
            evictions: wire.evictions,
            hit_ratio: wire.hit_ratio,
            advice: wire.advice,
        }
    }
}

impl From<v1::FleetHealth> for HealthView {
    fn from(wire: v1::FleetHealth) -> Self {
        Self {
            score: wire.score,
            parts: wire.parts.into_iter().map(Into::into).collect(),
            pools: wire.pools.into_iter().map(Into::into).collect(),
            agents: wire.agents.into_iter().map(Into::into).collect(),
            bottlenecks: wire.bottlenecks.into_iter().map(Into::into).collect(),
            caches: wire.caches.into_iter().map(Into::into).collect(),
        }
    }
}

/// From these scores on (of 100) a score is good, and from those on worth a look.
const GOOD_FROM: f64 = 80.0;
const WARN_FROM: f64 = 50.0;

fn score(score: f64) -> Cell {
    Cell::number(format!("{score:.0}")).tone(match score {
        score if score >= GOOD_FROM => Tone::Good,
        score if score >= WARN_FROM => Tone::Warn,
        _ => Tone::Bad,
    })
}

impl Row for PartView {
    const HEADERS: &'static [&'static str] = &["part", "score", "weight", "because"];

    fn cells(&self) -> Vec<Cell> {
        let weight = Cell::number(table::measure(self.weight));
        vec![Cell::text(&self.name), score(self.score), weight, Cell::text(&self.reason)]
    }
}

impl AgentHealthView {
    /// Its worst part, which is what pulls it down.
    fn worst(&self) -> String {
        let worst = self.parts.iter().min_by(|one, other| one.score.total_cmp(&other.score));
        worst.map(|part| format!("{}: {}", part.name, part.reason)).unwrap_or_default()
    }
}

impl Row for AgentHealthView {
    const HEADERS: &'static [&'static str] = &["agent", "score", "worst part"];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::text(&self.agent_id), score(self.score), Cell::text(self.worst())]
    }
}

impl Row for PoolView {
    const HEADERS: &'static [&'static str] = &["pool", "agents", "slots", "utilisation", "cpu", "memory", "queued"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::number(self.agents),
            Cell::number(format!("{}/{}", self.slots_used, self.slots_total)),
            Cell::number(table::percent(self.utilisation)),
            Cell::number(table::percent(self.cpu_share_mean)),
            Cell::number(table::percent(self.memory_share_mean)),
            Cell::number(self.queued),
        ]
    }
}

impl Row for BottleneckView {
    const HEADERS: &'static [&'static str] =
        &["severity", "metric", "of", "value", "threshold", "since", "last hour", "advice"];

    fn cells(&self) -> Vec<Cell> {
        let tone = match (self.active, self.severity.as_str()) {
            (false, _) => Tone::Plain,
            (true, "critical" | "high") => Tone::Bad,
            (true, _) => Tone::Warn,
        };
        let severity = if self.active { self.severity.clone() } else { format!("{} (over)", self.severity) };
        vec![
            Cell::text(severity).tone(tone),
            Cell::text(&self.metric),
            Cell::text(&self.subject),
            Cell::number(table::measure(self.value)),
            Cell::number(table::measure(self.threshold)),
            Cell::text(table::at(self.since_unix_ms)),
            Cell::number(format!("{}x", self.frequency)),
            Cell::text(&self.advice),
        ]
    }
}

impl Row for CacheView {
    const HEADERS: &'static [&'static str] = &["cache", "entries", "hits", "misses", "ratio", "evicted", "advice"];

    fn cells(&self) -> Vec<Cell> {
        let looked_up = self.hits + self.misses > 0;
        vec![
            Cell::text(&self.name),
            Cell::number(format!("{}/{}", self.entries, self.capacity)),
            Cell::number(self.hits),
            Cell::number(self.misses),
            Cell::number(if looked_up { table::percent(self.hit_ratio) } else { "-".to_owned() }),
            Cell::number(self.evictions),
            Cell::text(&self.advice),
        ]
    }
}

impl Show for HealthView {
    fn show(&self, style: &Style) -> String {
        fn section<R: Row>(rows: &[R], style: &Style) -> Option<String> {
            (!rows.is_empty()).then(|| table::grid(rows, style))
        }
        let whole = table::pairs(&[("health", score(self.score))], style) + " of 100";
        let sections = [
            Some(whole),
            section(&self.parts, style),
            section(&self.bottlenecks, style),
            section(&self.pools, style),
            section(&self.agents, style),
            section(&self.caches, style),
        ];
        sections.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
    }
}

/// Advice with its evidence. The fields are those of `Recommendation` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct RecommendationView {
    pub id: String,
    pub kind: String,
    pub title: String,
    pub evidence: Vec<String>,
    pub expected_effect: String,
    pub confidence: f64,
    pub state: String,
    pub made_unix_ms: Option<i64>,
    pub changed_unix_ms: Option<i64>,
    pub action: String,
    pub applicable: bool,
}

impl From<v1::Recommendation> for RecommendationView {
    fn from(wire: v1::Recommendation) -> Self {
        Self {
            kind: word(wire.kind().as_str_name(), "RECOMMENDATION_KIND_"),
            state: word(wire.state().as_str_name(), "RECOMMENDATION_STATE_"),
            id: wire.id,
            title: wire.title,
            evidence: wire.evidence,
            expected_effect: wire.expected_effect,
            confidence: wire.confidence,
            made_unix_ms: time(wire.made_unix_ms),
            changed_unix_ms: time(wire.changed_unix_ms),
            action: wire.action,
            applicable: wire.applicable,
        }
    }
}

impl RecommendationView {
    /// What can be done with it.
    fn next(&self) -> String {
        match (self.state.as_str(), self.applicable) {
            ("open", true) => format!("evenkeel advice apply {}", self.id),
            ("applied", _) => format!("evenkeel advice undo {}", self.id),
            _ => String::new(),
        }
    }
}

impl Row for RecommendationView {
    const HEADERS: &'static [&'static str] = &["id", "kind", "state", "sure", "advice", "expected"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.id),
            Cell::text(self.kind.replace('_', "-")),
            Cell::text(&self.state),
            Cell::number(table::percent(self.confidence)),
            Cell::text(&self.title),
            Cell::text(&self.expected_effect),
        ]
    }
}

impl Show for RecommendationView {
    fn show(&self, style: &Style) -> String {
        let mut pairs = vec![
            ("advice", Cell::text(&self.title)),
            ("id", Cell::text(&self.id)),
            ("kind", Cell::text(self.kind.replace('_', "-"))),
            ("state", Cell::text(&self.state)),
            ("confidence", Cell::text(table::percent(self.confidence))),
            ("expected", Cell::text(&self.expected_effect)),
            ("action", Cell::text(&self.action)),
        ];
        pairs.extend(self.evidence.iter().map(|evidence| ("evidence", Cell::text(evidence))));
        pairs.push(("next", Cell::text(self.next())));
        table::pairs(&pairs, style)
    }
}
