//! Request sizes, as printed.

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Row, Show,
    table::{self, Cell, Style},
};

/// What tasks of a kind reserve. The fields are those of `RequestSize` in resource.proto; what is not there is what each asks for.
#[derive(Clone, Debug, Serialize)]
pub struct SizeView {
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    pub version: u64,
}

impl From<v1::RequestSize> for SizeView {
    fn from(wire: v1::RequestSize) -> Self {
        let v1::RequestSize { kind, cpu_millis, memory_bytes, version } = wire;
        let set = |amount: u64| (amount > 0).then_some(amount);
        Self { kind, cpu_millis: set(cpu_millis), memory_bytes: set(memory_bytes), version }
    }
}

impl SizeView {
    fn cpu(&self) -> Cell {
        Cell::text(self.cpu_millis.map_or("as asked".to_owned(), evenkeel_shared::units::cores))
    }

    fn memory(&self) -> Cell {
        Cell::text(self.memory_bytes.map_or("as asked".to_owned(), table::bytes))
    }
}

impl Row for SizeView {
    const HEADERS: &'static [&'static str] = &["kind", "cpu", "memory", "version"];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::text(&self.kind), self.cpu(), self.memory(), Cell::number(self.version)]
    }
}

impl Show for SizeView {
    fn show(&self, style: &Style) -> String {
        let pairs = [
            ("kind", Cell::text(&self.kind)),
            ("cpu", self.cpu()),
            ("memory", self.memory()),
            ("version", Cell::text(self.version.to_string())),
        ];
        table::pairs(&pairs, style)
    }
}
