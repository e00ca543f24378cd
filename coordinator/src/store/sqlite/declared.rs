//! Declarations with their versions, and what budgets have spent: what a restart must know besides tasks.
//!
//! In force is what was written last of a name. Versions count on after it was taken back, until that is past its time and
//! forgotten; then a name that is declared again begins anew at 1, which is no reason to go by an older one. A sum is over each row, for a byte of a limit is as precious as one of a payload.

use std::{borrow::Cow, collections::BTreeMap};

use evenkeel_core::model::{BudgetSpent, Declaration, DeclarationKind};
use evenkeel_shared::Micros;
use rusqlite::{Connection, Row, Transaction, params};

use super::{
    super::{
        DeclarationQuery, ROWS_MAX, RecommendationFilter, RecordPage, RecordPlace, Records, StoreError,
        WINDOWS_RECOVERED_MAX,
    },
    codes,
    sums::Sum,
};

/// Later than all names that begin with what is before it.
const LAST: char = char::MAX;

/// The table of a kind.
const fn table(kind: DeclarationKind) -> &'static str {
    match kind {
        DeclarationKind::Budget => "budget_configs",
        DeclarationKind::ScalingPolicy => "scaling_policies",
        DeclarationKind::Recommendation => "recommendations",
        DeclarationKind::Limit
        | DeclarationKind::DynamicLimits
        | DeclarationKind::Prices
        | DeclarationKind::ScalingOverride
        | DeclarationKind::Thresholds
        | DeclarationKind::Config
        | DeclarationKind::Size => SHARED,
    }
}

/// The table of kinds that have none of their own.
const SHARED: &str = "declarations";
/// All tables of declarations.
pub const TABLES: [&str; 4] = ["budget_configs", "scaling_policies", "recommendations", SHARED];

/// In the table that several kinds share, names begin with the kind.
fn stored_name(kind: DeclarationKind, name: &str) -> Cow<'_, str> {
    if table(kind) == SHARED { format!("{}:{name}", kind.name()).into() } else { name.into() }
}

fn sum(name: &str, declaration: &Declaration) -> i64 {
    Sum::new()
        .part(name.as_bytes())
        .part(&declaration.version.to_le_bytes())
        .optional(declaration.body.as_ref().map(String::as_bytes))
        .part(&codes::micros(declaration.at).to_le_bytes())
        .part(declaration.reason.as_bytes())
        .stored()
}

fn spent_sum(spent: &BudgetSpent) -> i64 {
    Sum::new()
        .part(spent.budget.as_bytes())
        .part(&codes::micros(spent.window_start).to_le_bytes())
        .part(&codes::int(spent.spent.0).to_le_bytes())
        .part(&codes::int(spent.overrun.0).to_le_bytes())
        .stored()
}

/// Adds a version.
pub fn declare(transaction: &Transaction<'_>, declaration: &Declaration) -> Result<(), StoreError> {
    let name = stored_name(declaration.kind, &declaration.name);
    let sql = format!(
        "INSERT INTO {} (name, version, body, at, reason, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        table(declaration.kind)
    );
    transaction.prepare_cached(&sql)?.execute(params![
        name,
        codes::int(declaration.version),
        declaration.body,
        codes::micros(declaration.at),
        declaration.reason,
        sum(&name, declaration),
    ])?;
    Ok(())
}

/// Replaces what a budget has spent in a window.
pub fn spend(transaction: &Transaction<'_>, spent: &BudgetSpent) -> Result<(), StoreError> {
    let sql = "INSERT INTO budget_spent (budget, window_start, spent, overrun, sum) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET spent = excluded.spent, overrun = excluded.overrun, sum = excluded.sum";
    transaction.prepare_cached(sql)?.execute(params![
        spent.budget,
        codes::micros(spent.window_start),
        codes::int(spent.spent.0),
        codes::int(spent.overrun.0),
        spent_sum(spent),
    ])?;
    Ok(())
}

/// Reads a whole row of a table of declarations; `kind` is the one that the table is of.
fn declaration(row: &Row<'_>, kind: Option<DeclarationKind>) -> Result<Declaration, StoreError> {
    let stored: String = row.get("name")?;
    let (kind, name) = match kind {
        Some(kind) => (kind, stored.as_str()),
        None => {
            let parts = stored.split_once(':').and_then(|(kind, name)| Some((DeclarationKind::named(kind)?, name)));
            parts.ok_or_else(|| StoreError::unreadable("the name of a declaration", &stored))?
        }
    };
    let declaration = Declaration {
        kind,
        name: name.to_owned(),
        version: codes::uint(row.get("version")?)?,
        body: row.get("body")?,
        at: codes::timestamp(row.get("at")?)?,
        reason: row.get("reason")?,
    };
    if row.get::<_, i64>("sum")? != sum(&stored, &declaration) {
        return Err(StoreError::Corrupt(format!("{} `{name}` is not what was declared", kind.name())));
    }
    Ok(declaration)
}

/// The kind of a table that is of one alone.
fn kind_of(table_name: &str) -> Option<DeclarationKind> {
    let mut kinds = DeclarationKind::ALL.into_iter().filter(|kind| table(*kind) == table_name);
    kinds.next().filter(|_| kinds.next().is_none())
}

/// All that a restart must know. Every row is read and checked: one whose name is damaged would let an older version come back.
pub fn recovered(connection: &Connection) -> Result<Vec<Declaration>, StoreError> {
    let mut newest = BTreeMap::new();
    for table in TABLES {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} NOT INDEXED ORDER BY place"))?;
        for found in statement.query_and_then([], |row| declaration(row, kind_of(table)))? {
            let found = found?;
            newest.insert((found.kind, found.name.clone()), found);
        }
    }
    Ok(newest.into_values().filter(Declaration::is_recovered).collect())
}

/// The last windows of each budget.
pub fn spent(connection: &Connection) -> Result<Vec<BudgetSpent>, StoreError> {
    // From one budget to the next by the index: they have few windows that matter, and may have thousands that do not.
    let mut next = connection.prepare("SELECT min(budget) FROM budget_spent WHERE budget > ?1")?;
    let mut last =
        connection.prepare("SELECT * FROM budget_spent WHERE budget = ?1 ORDER BY window_start DESC LIMIT ?2")?;
    let (mut all, mut budget) = (Vec::new(), String::new());
    while let Some(found) = next.query_row([&budget], |row| row.get::<_, Option<String>>(0))? {
        for window in last.query_and_then(params![found, WINDOWS_RECOVERED_MAX as i64], budget_spent)? {
            all.push(window?);
        }
        budget = found;
    }
    all.sort_by(|one, other| (&one.budget, one.window_start).cmp(&(&other.budget, other.window_start)));
    Ok(all)
}

fn budget_spent(row: &Row<'_>) -> Result<BudgetSpent, StoreError> {
    let spent = BudgetSpent {
        budget: row.get("budget")?,
        window_start: codes::timestamp(row.get("window_start")?)?,
        spent: Micros(codes::uint(row.get("spent")?)?),
        overrun: Micros(codes::uint(row.get("overrun")?)?),
    };
    if row.get::<_, i64>("sum")? != spent_sum(&spent) {
        let budget = &spent.budget;
        return Err(StoreError::Corrupt(format!("what budget `{budget}` has spent is not what was written")));
    }
    Ok(spent)
}

pub fn query(connection: &Connection, query: &DeclarationQuery) -> Result<Vec<Declaration>, StoreError> {
    let table = table(query.kind);
    let (from, before) = match &query.name {
        Some(name) => (stored_name(query.kind, name), format!("{}\0", stored_name(query.kind, name))),
        None => (stored_name(query.kind, ""), format!("{}{LAST}", stored_name(query.kind, ""))),
    };
    let named = "name >= ?1 AND name < ?2";
    let sql = if query.history {
        format!("SELECT * FROM {table} WHERE {named} ORDER BY place DESC LIMIT ?3")
    } else {
        format!(
            "SELECT * FROM {table} WHERE place IN (SELECT max(place) FROM {table} WHERE {named} GROUP BY name)
             AND body IS NOT NULL ORDER BY name LIMIT ?3"
        )
    };
    let limit = query.limit.min(ROWS_MAX) as i64;
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_and_then(params![from, before, limit], |row| declaration(row, kind_of(table)))?;
    rows.collect()
}

pub fn recommendations(
    connection: &Connection,
    filter: &RecommendationFilter,
    page: RecordPage,
) -> Result<Records<Declaration>, StoreError> {
    // They are few, and the body is all that knows their state, so they are looked through.
    let sql = "SELECT * FROM recommendations
               WHERE place IN (SELECT max(place) FROM recommendations GROUP BY name) AND body IS NOT NULL
               AND (?1 IS NULL OR body ->> '$.state' = ?1) AND (?2 IS NULL OR body ->> '$.kind' = ?2) AND place < ?3
               ORDER BY place DESC LIMIT ?4";
    let size = page.size.clamp(1, ROWS_MAX as u32);
    let below = page.older_than.map_or(i64::MAX, |place| codes::int(place.id));
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_and_then(params![filter.state, filter.kind, below, size + 1], |row| {
        let declaration = declaration(row, Some(DeclarationKind::Recommendation))?;
        let place = RecordPlace { at: declaration.at, id: codes::uint(row.get("place")?)? };
        Ok::<_, StoreError>((place, declaration))
    })?;
    Ok(super::records::page(rows.collect::<Result<_, _>>()?, size as usize))
}

/// Removes versions that a later one of their name has replaced before `before`, names that were taken back before it, and
/// windows of budgets that began before it, but not the last one of a budget that is declared. At most `limit` of each;
/// answers whether there may be more.
pub fn prune(transaction: &Transaction<'_>, before: i64, limit: i64) -> Result<bool, StoreError> {
    let mut more = false;
    for table in TABLES {
        // What is taken back goes after all that it took back: what came before it would be in force again.
        let sql = format!(
            "DELETE FROM {table} WHERE place IN (
                 SELECT place FROM {table} old WHERE at < ?1 AND (
                     EXISTS (SELECT 1 FROM {table} new WHERE new.name = old.name AND new.place > old.place)
                     OR body IS NULL AND NOT EXISTS (
                         SELECT 1 FROM {table} other WHERE other.name = old.name AND other.place < old.place)
                 ) ORDER BY place LIMIT ?2)"
        );
        more |= transaction.prepare_cached(&sql)?.execute(params![before, limit])? as i64 == limit;
    }
    let sql = "DELETE FROM budget_spent WHERE (budget, window_start) IN (
                   SELECT budget, window_start FROM budget_spent old WHERE window_start < ?1 AND (
                       EXISTS (SELECT 1 FROM budget_spent new
                               WHERE new.budget = old.budget AND new.window_start > old.window_start)
                       OR NOT EXISTS (SELECT 1 FROM budget_configs WHERE name = budget)
                   ) LIMIT ?2)";
    more |= transaction.prepare_cached(sql)?.execute(params![before, limit])? as i64 == limit;
    Ok(more)
}
