--
-- Views that show a role the rollups of the roles it is a member of, and
-- members of pg_read_all_data all of them.
--

-- The owner as src/rollup/store.c finds it: the relation's, or that of the
-- first of the others when it was dropped.
CREATE VIEW kafka.visible_rollup AS
SELECT r.*
  FROM kafka.stored_rollup AS r
 WHERE r.rebuilds IS NULL
   AND (pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')
        OR pg_catalog.pg_has_role(
             (SELECT c.relowner
                FROM pg_catalog.unnest(ARRAY[r.relation, r.storage, r.definition, r.states])
                       WITH ORDINALITY AS part (oid, place)
                JOIN pg_catalog.pg_class AS c ON c.oid = part.oid
               ORDER BY part.place
               LIMIT 1), 'USAGE'));

COMMENT ON VIEW kafka.visible_rollup IS
'the rows of kafka.stored_rollup that the current role may see, without generations in the making; what the other views show is chosen by it';

CREATE FUNCTION kafka.get_disorder_limits(
  source regclass,
  OUT max_lag interval,
  OUT max_lead interval,
  OUT clock_skew interval)
AS 'MODULE_PATHNAME', 'kafka_get_disorder_limits'
LANGUAGE C STRICT STABLE PARALLEL SAFE;

COMMENT ON FUNCTION kafka.get_disorder_limits(regclass) IS
'what a Kafka foreign table declares of its records'' times (timestamp_max_lag, timestamp_max_lead; 0 where it says nothing) and its server of clocks (broker_clock_skew); NULLs for anything else';

-- The proof of complete_until is in src/rollup/watch.c. A last_time that lies
-- ahead of the clock is cut, so that one message from the future says nothing.
CREATE VIEW kafka.rollup_progress AS
SELECT r.rollup_id, read.last_read, reach.backlog, reach.complete_until
  FROM kafka.stored_rollup AS r
  LEFT JOIN kafka.stored_progress AS read USING (rollup_id)
 CROSS JOIN LATERAL kafka.get_disorder_limits(r.source) AS d
 CROSS JOIN LATERAL (
       SELECT CASE WHEN read.last_read IS NOT NULL
                   THEN pg_catalog.sum(GREATEST(p.end_offset - p.next_offset, 0))::bigint
              END AS backlog,
              CASE WHEN pg_catalog.bool_and(t.reached IS NOT NULL)
                   THEN pg_catalog.min(t.reached) - d.max_lag - d.clock_skew
              END AS complete_until
         FROM kafka.stored_position AS p
        CROSS JOIN LATERAL (
              SELECT GREATEST(read.caught_up_at,
                              CASE WHEN p.last_offset IS NOT NULL AND p.last_time IS NOT NULL
                                   THEN LEAST(p.last_time - d.max_lead, read.last_read)
                              END) AS reached) AS t
        WHERE p.rollup_id = r.rollup_id) AS reach;

COMMENT ON VIEW kafka.rollup_progress IS
'how far each rollup has come by what its runs have left; a part of kafka.rollups';

-- A copy that was restored elsewhere is halted whatever its row says. A run is
-- overdue two minutes after it should have read: pg_cron knows minutes only.
CREATE VIEW kafka.rollups WITH (security_barrier) AS
SELECT r.name, r.kind, r.relation, r.source, now_is.state,
       CASE WHEN here.is_home THEN r.reason
            ELSE 'It was copied or restored from another system or database. SELECT kafka.take_over() lets it run here.'
       END AS reason,
       r.schedule, r.enabled,
       (SELECT run.finished_at
          FROM kafka.stored_run AS run
         WHERE run.rollup_id = r.rollup_id
           AND run.event IN ('batch', 'retry', 'pause', 'fail', 'halt')
         ORDER BY run.run_id DESC
         LIMIT 1) AS last_run,
       (SELECT run.detail
          FROM kafka.stored_run AS run
         WHERE run.rollup_id = r.rollup_id
           AND run.event IN ('pause', 'fail', 'halt')
         ORDER BY run.run_id DESC
         LIMIT 1) AS last_error,
       now_is.overdue, progress.backlog, r.valid_from, progress.complete_until,
       now_is.state = 'RUNNING' AND now_is.overdue IS NOT TRUE
         AND progress.backlog IS NOT DISTINCT FROM 0 AS fresh,
       progress.last_read, r.options, r.bucket_column, r.bucket_width,
       r.late_limit, r.future_limit, r.created_at, r.generation,
       EXISTS (SELECT FROM kafka.stored_rollup AS g WHERE g.rebuilds = r.rollup_id) AS rebuilding
  FROM kafka.visible_rollup AS r
  JOIN kafka.rollup_progress AS progress USING (rollup_id)
 CROSS JOIN LATERAL (
       SELECT r.system_identifier = s.system_identifier
              AND r.database_id = d.oid AS is_home,
              COALESCE(progress.last_read, r.created_at) AS read_at
         FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_database AS d
        WHERE d.datname = pg_catalog.current_database()) AS here
 CROSS JOIN LATERAL (
       SELECT CASE WHEN here.is_home THEN r.state ELSE 'HALTED' END AS state,
              CASE WHEN (r.options ->> 'follow')::boolean
                   THEN r.enabled AND here.read_at < pg_catalog.statement_timestamp() - interval '2 min'
                   WHEN r.schedule IS NOT NULL
                   THEN r.enabled AND kafka.next_run(r.schedule, here.read_at)
                                      < pg_catalog.statement_timestamp() - interval '2 min'
              END AS overdue) AS now_is;

COMMENT ON VIEW kafka.rollups IS
'your rollups, one row each; key: name. state is RUNNING, PAUSED (by somebody, or because too many messages failed), FAILING (the last run ended with an error, the next one tries again) or HALTED (going on would lose or repeat messages), reason says why and what to do. Asks no broker: kafka.rollup_lag does';
COMMENT ON COLUMN kafka.rollups.relation IS
'the view to read';
COMMENT ON COLUMN kafka.rollups.source IS
'the Kafka foreign table that it is made of';
COMMENT ON COLUMN kafka.rollups.last_run IS
'when a run last stored something, or failed; runs that find nothing new leave no trace here, see last_read';
COMMENT ON COLUMN kafka.rollups.last_error IS
'what last went wrong, which may be mended since: see state';
COMMENT ON COLUMN kafka.rollups.overdue IS
'true when it is enabled and a run that was due more than 2 minutes ago has not read the topics since, for whatever reason; NULL without a schedule, of which only whoever calls the runs knows when they are due';
COMMENT ON COLUMN kafka.rollups.backlog IS
'offsets that were still to be read when a run last looked, at last_read or later; NULL before the first run';
COMMENT ON COLUMN kafka.rollups.valid_from IS
'from where on buckets can be whole, where the rollup began at a time (start_at) and its buckets have a width; else NULL. One that began at the topic''s beginning has whole buckets; with start_offsets or start_group those of the first messages may be partial';
COMMENT ON COLUMN kafka.rollups.complete_until IS
'all messages with an earlier time have been read, those too that are yet to be sent, as long as none is later than the foreign table''s timestamp_max_lag says, nor more ahead than timestamp_max_lead, and clocks agree up to the server''s broker_clock_skew. An option that is not set counts as 0: where messages come late and timestamp_max_lag does not say so, those that do are not in here. What was read is counted, or among the dead letters. NULL when nothing is known';
COMMENT ON COLUMN kafka.rollups.fresh IS
'RUNNING, not overdue, and nothing was left to be read at last_read';
COMMENT ON COLUMN kafka.rollups.last_read IS
'when a run last asked where the topics end and got an answer, give or take 10 s';
COMMENT ON COLUMN kafka.rollups.rebuilding IS
'true while kafka.rebuild_rollup makes its next generation, or has been interrupted while it did';

CREATE VIEW kafka.rollup_offsets WITH (security_barrier) AS
SELECT r.name, p.topic, p.kafka_partition, p.next_offset, p.last_offset,
       p.newest, p.lost_messages, p.last_time, p.end_offset
  FROM kafka.stored_position AS p
  JOIN kafka.visible_rollup AS r USING (rollup_id);

COMMENT ON VIEW kafka.rollup_offsets IS
'how far your rollups have read; key: name, topic, kafka_partition. All messages before next_offset are counted, or among the dead letters';
COMMENT ON COLUMN kafka.rollup_offsets.next_offset IS
'the first offset that is not read yet';
COMMENT ON COLUMN kafka.rollup_offsets.last_offset IS
'the last message that was read; markers and removed messages may lie between it and next_offset';
COMMENT ON COLUMN kafka.rollup_offsets.newest IS
'the latest time in the messages that were read, where it is needed to tell which are late';
COMMENT ON COLUMN kafka.rollup_offsets.lost_messages IS
'how many offsets the broker removed before they were read';
COMMENT ON COLUMN kafka.rollup_offsets.last_time IS
'the record time of the last message that was read';
COMMENT ON COLUMN kafka.rollup_offsets.end_offset IS
'where the partition ended when a run last stored something, or first met the partition';

CREATE VIEW kafka.rollup_runs WITH (security_barrier) AS
SELECT r.name, run.run_id, run.event, run.started_at, run.finished_at,
       run.messages, run.bytes, run.rows_selected, run.groups,
       run.dead_letters, run.duplicates, run.lost_messages, run.sqlstate,
       run.detail
  FROM kafka.stored_run AS run
  JOIN kafka.visible_rollup AS r USING (rollup_id);

COMMENT ON VIEW kafka.rollup_runs IS
'what the runs of your rollups did, one row a batch or event; key: run_id. Every batch''s row was committed together with what it stored';
COMMENT ON COLUMN kafka.rollup_runs.rows_selected IS
'rows that the rollup''s WHERE and joins let through, of the messages';
COMMENT ON COLUMN kafka.rollup_runs.groups IS
'groups that were added or changed';
COMMENT ON COLUMN kafka.rollup_runs.duplicates IS
'messages left out because their unique_key was counted before';

CREATE FUNCTION kafka.unpack_headers(
  packed bytea)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'kafka_unpack_headers'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

COMMENT ON FUNCTION kafka.unpack_headers(bytea) IS
'record headers as they are kept with dead letters, as the object that a column with the option headers shows';

-- A time that timestamptz cannot hold is no reason not to see the others.
CREATE VIEW kafka.dead_letters WITH (security_barrier) AS
SELECT d.id, r.name AS rollup, d.topic, d.kafka_partition, d.kafka_offset,
       CASE WHEN d.timestamp_ms <> -1
                 AND d.timestamp_ms BETWEEN -210866803200000 AND 9224318015000000
            THEN pg_catalog.to_timestamp(d.timestamp_ms / 1000.0)
       END AS "timestamp",
       CASE WHEN d.timestamp_ms <> -1
            THEN CASE WHEN d.log_append_time THEN 'LogAppendTime' ELSE 'CreateTime' END
       END AS timestamp_type,
       d.key, d.value, kafka.unpack_headers(d.headers) AS headers,
       d.stage, d.sqlstate, d.message, d.attempts, d.status, d.retry_at,
       d.created_at, d.updated_at
  FROM kafka.stored_dead_letter AS d
  JOIN kafka.visible_rollup AS r USING (rollup_id);

COMMENT ON VIEW kafka.dead_letters IS
'messages that your rollups could not count, as the broker had them; key: id. Only where a topic was made anew can two have the same rollup, topic, kafka_partition and kafka_offset';
COMMENT ON COLUMN kafka.dead_letters.stage IS
'what refused it: decode (it does not fit the foreign table''s columns), expect, late, future (the rollup''s conditions), or query (an error in the rollup''s expressions)';
COMMENT ON COLUMN kafka.dead_letters.attempts IS
'how often it was tried again';
COMMENT ON COLUMN kafka.dead_letters.status IS
'new, retry (tried again in vain, and to be tried more), failed (not tried any more by itself), or done (counted since)';
COMMENT ON COLUMN kafka.dead_letters.retry_at IS
'when a run will try it again; NULL for never';

GRANT SELECT ON kafka.rollups, kafka.rollup_offsets, kafka.rollup_runs,
  kafka.dead_letters TO PUBLIC;

CREATE FUNCTION kafka.get_rollup_lag()
RETURNS TABLE (name text, topic text, kafka_partition int,
               next_offset bigint, low_offset bigint, end_offset bigint,
               high_watermark bigint, uncommitted bigint,
               messages_behind bigint, behind interval, lost_messages bigint,
               note text)
AS 'MODULE_PATHNAME', 'kafka_rollup_lag'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 100;

COMMENT ON FUNCTION kafka.get_rollup_lag() IS
'what the view kafka.rollup_lag shows';

CREATE VIEW kafka.rollup_lag AS
SELECT name, topic, kafka_partition, next_offset, low_offset, end_offset,
       high_watermark, uncommitted, messages_behind, behind, lost_messages, note
  FROM kafka.get_rollup_lag();

COMMENT ON VIEW kafka.rollup_lag IS
'how far your rollups are behind their topics; key: name, topic, kafka_partition. Asks the brokers, at most 2 s for each server; where there is no answer, what only they know is NULL, and note says why';
COMMENT ON COLUMN kafka.rollup_lag.next_offset IS
'the first offset that is not read yet; NULL for a partition that no run has met yet';
COMMENT ON COLUMN kafka.rollup_lag.low_offset IS
'the first offset that the broker still has';
COMMENT ON COLUMN kafka.rollup_lag.end_offset IS
'the offset after the last one to be read';
COMMENT ON COLUMN kafka.rollup_lag.high_watermark IS
'the offset after the last one of all, of open transactions, too';
COMMENT ON COLUMN kafka.rollup_lag.uncommitted IS
'offsets from end_offset to high_watermark: an open transaction, and what came after it began. They cannot be read before it ends, by any reader of committed messages';
COMMENT ON COLUMN kafka.rollup_lag.messages_behind IS
'offsets still to be read; the messages may be fewer, where there are transaction markers or removed messages among them';
COMMENT ON COLUMN kafka.rollup_lag.behind IS
'for how long, at most, the first of them has been there; 0 where there is none, NULL where that is not known. By the record time of the last message that was read, or the time at which nothing was left to be read, whichever is later';
COMMENT ON COLUMN kafka.rollup_lag.lost_messages IS
'offsets that were passed without being read, and those that the broker removed before they were read';
COMMENT ON COLUMN kafka.rollup_lag.note IS
'what the numbers do not say: why there are none, or what keeps them from moving; else NULL';

GRANT SELECT ON kafka.rollup_lag TO PUBLIC;
