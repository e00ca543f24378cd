-- What a live attempt holds of budgets, in JSON with its sum: see reserved.rs. NULL: nothing.
ALTER TABLE attempts ADD COLUMN reserved TEXT;
-- What runs already was given its place by a version that did not write that down.
UPDATE attempts SET reserved = 'unknown'
WHERE ended_at IS NULL
  AND (task, attempt) IN (SELECT id, attempts FROM tasks INDEXED BY tasks_live WHERE state < 4 AND assignment IS NOT NULL);
