-- What is kept of resources: what was declared, what budgets have spent, and the history of use, cost, scaling and
-- allocation. Amounts are millionths of their unit, lengths microseconds.

-- As the agent measured it, and in JSON what its executor said that it cost. NULL: nothing was said.
ALTER TABLE attempts ADD COLUMN cpu_us INTEGER;
ALTER TABLE attempts ADD COLUMN memory_max_bytes INTEGER;
ALTER TABLE attempts ADD COLUMN cost TEXT;

-- Declarations, each with all its versions: the last one written of a name is in force, whatever its number and its time
-- say. A body is JSON; NULL: it was taken back. The sum is over all else but the place: see sums.rs.
CREATE TABLE budget_configs (
    place   INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT,
    at      INTEGER NOT NULL,
    reason  TEXT NOT NULL,
    sum     INTEGER NOT NULL
);
CREATE INDEX budget_configs_by_name ON budget_configs (name, place);
CREATE TABLE scaling_policies (
    place   INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT,
    at      INTEGER NOT NULL,
    reason  TEXT NOT NULL,
    sum     INTEGER NOT NULL
);
CREATE INDEX scaling_policies_by_name ON scaling_policies (name, place);
CREATE TABLE recommendations (
    place   INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT,
    at      INTEGER NOT NULL,
    reason  TEXT NOT NULL,
    sum     INTEGER NOT NULL
);
CREATE INDEX recommendations_by_name ON recommendations (name, place);
-- All others; the name begins with the kind.
CREATE TABLE declarations (
    place   INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT,
    at      INTEGER NOT NULL,
    reason  TEXT NOT NULL,
    sum     INTEGER NOT NULL
);
CREATE INDEX declarations_by_name ON declarations (name, place);

CREATE TABLE budget_spent (
    budget       TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    spent        INTEGER NOT NULL,
    overrun      INTEGER NOT NULL,
    sum          INTEGER NOT NULL,
    PRIMARY KEY (budget, window_start)
) WITHOUT ROWID;

-- What is measured, of what. Long names once, so that a measurement is small; and where thinning out goes on.
CREATE TABLE usage_series (
    id         INTEGER PRIMARY KEY,
    subject    TEXT NOT NULL,
    measure    TEXT NOT NULL,              -- the metric
    thinned_to INTEGER NOT NULL DEFAULT 0, -- what is older is coarse
    UNIQUE (subject, measure)
);
CREATE INDEX usage_series_to_thin ON usage_series (thinned_to);
-- Clustered by series and time: a query reads the rows that it answers and no others.
CREATE TABLE resource_usage (
    series INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    length INTEGER NOT NULL,
    mean   REAL NOT NULL,
    min    REAL NOT NULL,
    max    REAL NOT NULL,
    PRIMARY KEY (series, at)
) WITHOUT ROWID;

CREATE TABLE cost_series (
    id         INTEGER PRIMARY KEY,
    subject    TEXT NOT NULL,
    measure    TEXT NOT NULL,              -- the unit
    thinned_to INTEGER NOT NULL DEFAULT 0,
    UNIQUE (subject, measure)
);
CREATE INDEX cost_series_to_thin ON cost_series (thinned_to);
CREATE TABLE cost_analytics (
    series    INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    length    INTEGER NOT NULL,
    resources INTEGER NOT NULL,
    reported  INTEGER NOT NULL,
    idle      INTEGER NOT NULL,
    tasks     INTEGER NOT NULL,
    attempts  INTEGER NOT NULL,
    PRIMARY KEY (series, at)
) WITHOUT ROWID;

CREATE TABLE scaling_events (
    id            INTEGER PRIMARY KEY,
    at            INTEGER NOT NULL,
    agents_before INTEGER NOT NULL,
    agents_after  INTEGER NOT NULL,
    body          TEXT NOT NULL
);
CREATE INDEX scaling_events_by_time ON scaling_events (at, id);

CREATE TABLE allocation_events (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    what    TEXT NOT NULL,
    subject TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX allocation_events_by_time ON allocation_events (at, id);
CREATE INDEX allocation_events_by_subject ON allocation_events (subject, at, id);

-- Failovers are events of the fleet already; here they are found by time, in the form of the others.
CREATE INDEX cluster_events_failovers ON cluster_events (at, position) WHERE kind = 6;
CREATE VIEW failover_events AS
    SELECT position AS id, at, 'failover' AS what, 'agent:' || coalesce(agent, '') AS subject, message
    FROM cluster_events WHERE kind = 6;
