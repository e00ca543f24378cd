//! What the fleet is like, now and over time: measurements, health, bottlenecks, trends.
