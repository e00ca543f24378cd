//! What is changed in a database before it is opened: cells by SQL, then bytes of its files.

use std::{fs, path::Path};

use rusqlite::{Connection, params};

use super::{DATABASE, LOG};

/// Changes of one input.
const CHANGES_MAX: usize = 16;

/// Tables, each with what names one of its rows.
const TABLES: [(&str, &str); 19] = [
    ("tasks", "place"),
    ("inputs", "place"),
    ("outputs", "place"),
    ("attempts", "task, attempt"),
    ("task_events", "position"),
    ("cluster_events", "position"),
    ("admin", "agent"),
    ("meta", "one"),
    ("budget_configs", "place"),
    ("scaling_policies", "place"),
    ("recommendations", "place"),
    ("declarations", "place"),
    ("budget_spent", "budget, window_start"),
    ("usage_series", "id"),
    ("resource_usage", "series, at"),
    ("cost_series", "id"),
    ("cost_analytics", "series, at"),
    ("scaling_events", "id"),
    ("allocation_events", "id"),
];

/// What the first version of the database did not have.
const WITHOUT_SUMS: &str = "UPDATE inputs SET task_sum = NULL, payload_sum = NULL;
    UPDATE tasks SET output_sum = NULL; UPDATE meta SET live = NULL;";

/// What is changed before the database is opened.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Damage {
    /// Which database: released in order, left as it was, or with its last changes still in the log.
    #[prost(uint32, tag = "1")]
    pub database: u32,
    /// Cells that are written.
    #[prost(message, repeated, tag = "2")]
    pub cells: Vec<Cell>,
    /// Bytes that are changed after that.
    #[prost(message, repeated, tag = "3")]
    pub patches: Vec<Patch>,
    /// The rows are without checksums, as those of the first version of the database are; otherwise most changes of a cell
    /// are found at once.
    #[prost(bool, tag = "4")]
    pub without_sums: bool,
}

/// A cell, by numbers that are taken modulo what there is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Cell {
    /// Of [`TABLES`].
    #[prost(uint32, tag = "1")]
    pub table: u32,
    /// Its column.
    #[prost(uint32, tag = "2")]
    pub column: u32,
    /// Its row.
    #[prost(uint32, tag = "3")]
    pub row: u32,
    /// What is written.
    #[prost(oneof = "Value", tags = "4, 5, 6, 7, 8, 9, 10")]
    pub value: Option<Value>,
}

/// What is written into a cell.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    /// Nothing.
    #[prost(bool, tag = "4")]
    Null(bool),
    /// A number.
    #[prost(int64, tag = "5")]
    Int(i64),
    /// A number with a fraction.
    #[prost(double, tag = "6")]
    Real(f64),
    /// A text, which need not be UTF-8.
    #[prost(bytes = "vec", tag = "7")]
    Text(Vec<u8>),
    /// Bytes.
    #[prost(bytes = "vec", tag = "8")]
    Blob(Vec<u8>),
    /// What another row has there.
    #[prost(uint32, tag = "9")]
    As(u32),
    /// The row is removed.
    #[prost(bool, tag = "10")]
    Gone(bool),
}

/// A change of the file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Patch {
    /// In the log, if there is one.
    #[prost(bool, tag = "1")]
    pub log: bool,
    /// Where, modulo the length.
    #[prost(uint64, tag = "2")]
    pub at: u64,
    /// What is written there. Nothing: the file ends there.
    #[prost(bytes = "vec", tag = "3")]
    pub bytes: Vec<u8>,
    /// It is added to what is there, bit by bit.
    #[prost(bool, tag = "4")]
    pub xor: bool,
}

impl Damage {
    /// Changes the database in this directory.
    pub(super) fn apply(&self, dir: &Path) {
        if self.without_sums || !self.cells.is_empty() {
            write_cells(dir, self);
        }
        for patch in self.patches.iter().take(CHANGES_MAX) {
            patch_file(dir, patch);
        }
    }
}

fn write_cells(dir: &Path, damage: &Damage) {
    let connection = Connection::open(dir.join(DATABASE)).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
    if damage.without_sums {
        connection.execute_batch(WITHOUT_SUMS).unwrap();
    }
    for cell in damage.cells.iter().take(CHANGES_MAX) {
        // A cell that the schema does not let be written so stays as it is.
        let _ = write_cell(&connection, cell);
    }
}

fn write_cell(connection: &Connection, cell: &Cell) -> rusqlite::Result<()> {
    let (table, key) = TABLES[cell.table as usize % TABLES.len()];
    let columns: Vec<String> = connection
        .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let column = &columns[cell.column as usize % columns.len()];
    let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    let nth = |n: u32| format!("FROM {table} ORDER BY {key} LIMIT 1 OFFSET {}", i64::from(n) % rows.max(1));
    let row = format!("({key}) = (SELECT {key} {})", nth(cell.row));
    let set = |value: &str| format!("UPDATE {table} SET {column} = {value} WHERE {row}");
    match &cell.value {
        None | Some(Value::Null(_)) => connection.execute(&set("NULL"), []),
        Some(Value::Int(number)) => connection.execute(&set("?1"), params![number]),
        Some(Value::Real(number)) => connection.execute(&set("?1"), params![number]),
        Some(Value::Text(bytes)) => connection.execute(&set("CAST(?1 AS TEXT)"), params![bytes]),
        Some(Value::Blob(bytes)) => connection.execute(&set("?1"), params![bytes]),
        Some(Value::As(other)) => connection.execute(&set(&format!("(SELECT {column} {})", nth(*other))), []),
        Some(Value::Gone(_)) => connection.execute(&format!("DELETE FROM {table} WHERE {row}"), []),
    }
    .map(drop)
}

fn patch_file(dir: &Path, patch: &Patch) {
    let log = dir.join(LOG);
    let path = if patch.log && log.exists() { log } else { dir.join(DATABASE) };
    let mut file = fs::read(&path).unwrap();
    if file.is_empty() {
        return;
    }
    let at = usize::try_from(patch.at).unwrap_or(usize::MAX) % file.len();
    if patch.bytes.is_empty() {
        file.truncate(at);
    }
    for (place, byte) in file[at..].iter_mut().zip(&patch.bytes) {
        *place = if patch.xor { *place ^ byte } else { *byte };
    }
    fs::write(&path, file).unwrap();
}
