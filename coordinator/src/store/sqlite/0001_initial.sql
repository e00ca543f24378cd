-- Ids of tasks are 16 bytes, big-endian, so that they sort by time of acceptance. Times are microseconds since the Unix
-- epoch, durations microseconds. What the numbers of states, ends and kinds mean is in codes.rs.

-- One row about the store itself.
CREATE TABLE meta (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    incarnation     INTEGER NOT NULL,
    clean           INTEGER NOT NULL, -- 1: the last owner released it
    strategy        TEXT,             -- as set at run time, in JSON
    pruned_position INTEGER NOT NULL  -- events up to here may be missing
);
INSERT INTO meta VALUES (1, 0, 1, NULL, 0);

-- The narrow, hot part of a task: what changes during its life, and what it is looked up by.
CREATE TABLE tasks (
    place        INTEGER PRIMARY KEY, -- in the order of acceptance
    id           BLOB NOT NULL UNIQUE,
    state        INTEGER NOT NULL,
    state_at     INTEGER NOT NULL,    -- when the state began; of a wait for a retry, when it ends
    accepted_at  INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    crashes      INTEGER NOT NULL,
    tenant       TEXT NOT NULL,
    kind         TEXT NOT NULL,
    agent        TEXT,
    assignment   INTEGER,             -- of the live attempt
    fingerprint  BLOB NOT NULL,
    key          TEXT,
    redrive_of   BLOB,
    failure_class INTEGER,
    failure      TEXT,
    exit_code    INTEGER
);
CREATE UNIQUE INDEX tasks_by_key ON tasks (tenant, key) WHERE key IS NOT NULL;
CREATE INDEX tasks_live ON tasks (id) WHERE state < 4;
-- Success is the rule and has no index: a list of it walks all tasks and seldom passes one over.
CREATE INDEX tasks_unsuccessful ON tasks (state, id) WHERE state > 4;
CREATE INDEX tasks_over ON tasks (state_at) WHERE state >= 4;
CREATE INDEX tasks_by_tenant ON tasks (tenant, id);
CREATE INDEX tasks_by_kind ON tasks (kind, id);
CREATE INDEX tasks_by_agent ON tasks (agent, id) WHERE agent IS NOT NULL;
CREATE INDEX tasks_redriven ON tasks (redrive_of, id) WHERE redrive_of IS NOT NULL;

-- What was asked for: written once, read at a restart and when somebody asks.
CREATE TABLE inputs (
    place   INTEGER PRIMARY KEY,
    spec    BLOB NOT NULL, -- evenkeel.v1.TaskSpec without its payload
    payload BLOB NOT NULL
);

-- Only those that are not empty.
CREATE TABLE outputs (
    place  INTEGER PRIMARY KEY,
    output BLOB NOT NULL
);

CREATE TABLE attempts (
    task          BLOB NOT NULL,
    attempt       INTEGER NOT NULL,
    assignment    INTEGER NOT NULL,
    agent         TEXT NOT NULL,
    assigned_at   INTEGER NOT NULL,
    strategy      TEXT NOT NULL,
    score         REAL,             -- NULL: not a number
    with_room     INTEGER NOT NULL,
    prefetched    INTEGER NOT NULL,
    given_up      INTEGER NOT NULL,
    queued_us     INTEGER NOT NULL,
    started_at    INTEGER,
    ended_at      INTEGER,
    ended_how     INTEGER,
    run_us        INTEGER,
    failure_class INTEGER,
    failure       TEXT,
    exit_code     INTEGER,
    PRIMARY KEY (task, attempt)
) WITHOUT ROWID;

CREATE TABLE task_events (
    position INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    task     BLOB NOT NULL,
    kind     INTEGER NOT NULL,
    state    INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    agent    TEXT,
    message  TEXT NOT NULL
);
CREATE INDEX task_events_by_task ON task_events (task);

CREATE TABLE cluster_events (
    position INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    agent    TEXT,
    task     BLOB,
    message  TEXT NOT NULL
);
CREATE INDEX cluster_events_by_agent ON cluster_events (agent) WHERE agent IS NOT NULL;

-- What operators want of agents, where it is not the default.
CREATE TABLE admin (
    agent          TEXT PRIMARY KEY,
    state          TEXT NOT NULL,
    drain_deadline INTEGER,
    reason         TEXT NOT NULL
) WITHOUT ROWID;
