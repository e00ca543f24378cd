//! What the fleet is like, now and over time: measurements, health, bottlenecks, trends.

pub mod metric;
pub mod ring;
pub mod sample;
pub mod trend;
