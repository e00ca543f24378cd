-- Sums over what is written once, so that damage that SQLite does not see is found when it is read: see sums.rs. NULL: the
-- row was written before there were sums, or there is nothing.
ALTER TABLE inputs ADD COLUMN task_sum INTEGER;    -- over the task as it was accepted, its payload apart
ALTER TABLE inputs ADD COLUMN payload_sum INTEGER; -- over the payload
ALTER TABLE tasks ADD COLUMN output_sum INTEGER;   -- over the output; not beside it, so that an output that is gone is missed
ALTER TABLE meta ADD COLUMN live INTEGER;          -- tasks that were not over when the store was released
