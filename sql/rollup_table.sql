--
-- Rollups. Their tables belong to the extension's owner alone; roles see what
-- is theirs through the views below, and change it through the functions.
--

-- rebuilds is no foreign key: of a table that refers to itself pg_dump warns
-- each time, and a dump with INSERTs could not be restored. Who drops a rollup
-- drops what rebuilds it first, under its lock (src/rollup/shadow.c).
CREATE TABLE kafka.stored_rollup (
  rollup_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  kind text NOT NULL DEFAULT 'rollup' CHECK (kind IN ('rollup')),
  rebuilds int UNIQUE,
  generation int NOT NULL DEFAULT 1,
  since timestamptz,
  keep_before timestamptz,
  kept boolean NOT NULL DEFAULT false,
  source regclass NOT NULL,
  relation regclass NOT NULL,
  storage regclass NOT NULL,
  definition regclass NOT NULL,
  states regclass NOT NULL,
  checks regclass,
  live regclass,
  upsert text NOT NULL,
  bucket_column text,
  bucket_width interval,
  valid_from timestamptz,
  pruned_until timestamptz,
  expect text,
  late_limit interval,
  future_limit interval,
  options jsonb NOT NULL DEFAULT '{}',
  search_path text NOT NULL,
  time_zone text NOT NULL,
  date_style text NOT NULL,
  interval_style text NOT NULL,
  enabled boolean NOT NULL DEFAULT true,
  state text NOT NULL DEFAULT 'RUNNING'
    CHECK (state IN ('RUNNING', 'PAUSED', 'FAILING', 'HALTED')),
  reason text,
  cluster_id text,
  system_identifier bigint NOT NULL,
  database_id oid NOT NULL,
  isolation_level text,
  schedule text,
  job_id bigint,
  job_role text,
  created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE kafka.stored_rollup IS
'one row a rollup; read it through the view kafka.rollups';
COMMENT ON COLUMN kafka.stored_rollup.rebuilds IS
'the rollup that this one, a new generation in the making, is going to replace; NULL for all others';
COMMENT ON COLUMN kafka.stored_rollup.generation IS
'which generation of storage it is: the number in the name of its table';
COMMENT ON COLUMN kafka.stored_rollup.since IS
'what rebuild_rollup was told to make a new generation since; NULL for the beginning, and where it is none';
COMMENT ON COLUMN kafka.stored_rollup.keep_before IS
'the buckets with times before this one a new generation takes from the old one, since the topic does not hold all of their messages; NULL for none';
COMMENT ON COLUMN kafka.stored_rollup.kept IS
'have they been taken';
COMMENT ON COLUMN kafka.stored_rollup.live IS
'the view that adds the tail of the topic; NULL where there is none';
COMMENT ON COLUMN kafka.stored_rollup.pruned_until IS
'buckets before this time have been removed: what comes for them is late; NULL while none has. Those without a time zone are taken for UTC. One microsecond past a bucket when rows of that one are still to be removed';
COMMENT ON COLUMN kafka.stored_rollup.job_id IS
'of the pg_cron job that runs it, which belongs to the role job_role; NULL for none';

CREATE TABLE kafka.stored_position (
  rollup_id int NOT NULL REFERENCES kafka.stored_rollup ON DELETE CASCADE,
  topic text NOT NULL,
  kafka_partition int NOT NULL,
  next_offset bigint NOT NULL,
  last_offset bigint,
  last_digest bigint,
  last_time timestamptz,
  end_offset bigint,
  newest timestamptz,
  newest_key timestamptz,
  newest_key_read_at timestamptz,
  lost_messages bigint NOT NULL DEFAULT 0,
  start_offset bigint,
  PRIMARY KEY (rollup_id, topic, kafka_partition)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

COMMENT ON TABLE kafka.stored_position IS
'how far each rollup has read each partition; read it through the view kafka.rollup_offsets';
COMMENT ON COLUMN kafka.stored_position.last_time IS
'the record time of the last message that was read; NULL for none';
COMMENT ON COLUMN kafka.stored_position.end_offset IS
'where the partition ended when a run last looked, or first met it';
COMMENT ON COLUMN kafka.stored_position.newest_key IS
'the latest record time among the messages whose unique key was counted';
COMMENT ON COLUMN kafka.stored_position.newest_key_read_at IS
'when a message of the partition was last counted, or it was first waited for one, by the server''s clock';
COMMENT ON COLUMN kafka.stored_position.start_offset IS
'the first offset from which on messages of the partition have been read; NULL where that is not known';

-- Written by every run, so apart from what others read and alter.
CREATE TABLE kafka.stored_progress (
  rollup_id int PRIMARY KEY REFERENCES kafka.stored_rollup ON DELETE CASCADE,
  last_read timestamptz NOT NULL,
  caught_up_at timestamptz
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.05);

COMMENT ON TABLE kafka.stored_progress IS
'when each rollup last saw its topics; read it through the view kafka.rollups';
COMMENT ON COLUMN kafka.stored_progress.last_read IS
'when a run last asked where the topics end, and got an answer';
COMMENT ON COLUMN kafka.stored_progress.caught_up_at IS
'the last such time up to which all has been read; NULL while there was none';

CREATE TABLE kafka.stored_run (
  run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rollup_id int NOT NULL REFERENCES kafka.stored_rollup ON DELETE CASCADE,
  event text NOT NULL
    CHECK (event IN ('batch', 'retry', 'pause', 'fail', 'halt', 'loss', 'seek',
                     'take over', 'rebuild', 'prune')),
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  messages bigint NOT NULL DEFAULT 0,
  bytes bigint NOT NULL DEFAULT 0,
  rows_selected bigint NOT NULL DEFAULT 0,
  groups bigint NOT NULL DEFAULT 0,
  dead_letters bigint NOT NULL DEFAULT 0,
  duplicates bigint NOT NULL DEFAULT 0,
  lost_messages bigint NOT NULL DEFAULT 0,
  sqlstate text,
  detail text
);
CREATE INDEX ON kafka.stored_run (rollup_id, run_id);

COMMENT ON TABLE kafka.stored_run IS
'what the runs of each rollup did; read it through the view kafka.rollup_runs';

CREATE TABLE kafka.stored_dead_letter (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rollup_id int NOT NULL REFERENCES kafka.stored_rollup ON DELETE CASCADE,
  topic text NOT NULL,
  kafka_partition int NOT NULL,
  kafka_offset bigint NOT NULL,
  timestamp_ms bigint NOT NULL,
  log_append_time boolean NOT NULL,
  key bytea,
  value bytea,
  headers bytea,
  stage text NOT NULL
    CHECK (stage IN ('decode', 'expect', 'late', 'future', 'query')),
  sqlstate text,
  message text,
  key_hash uuid,
  digest bytea NOT NULL GENERATED ALWAYS AS (pg_catalog.sha256(
    pg_catalog.int8send(timestamp_ms)
    || pg_catalog.int4send(COALESCE(pg_catalog.octet_length(key), -1))
    || pg_catalog.sha256(COALESCE(key, ''))
    || pg_catalog.int4send(COALESCE(pg_catalog.octet_length(value), -1))
    || pg_catalog.sha256(COALESCE(value, ''))
    || pg_catalog.sha256(COALESCE(headers, '')))) STORED,
  attempts int NOT NULL DEFAULT 0,
  status text NOT NULL DEFAULT 'new'
    CHECK (status IN ('new', 'retry', 'failed', 'done')),
  retry_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (rollup_id, topic, kafka_partition, kafka_offset, digest)
);
CREATE INDEX ON kafka.stored_dead_letter (rollup_id, retry_at)
  WHERE retry_at IS NOT NULL;
CREATE INDEX ON kafka.stored_dead_letter (rollup_id, updated_at);
CREATE INDEX ON kafka.stored_dead_letter (rollup_id, key_hash)
  WHERE key_hash IS NOT NULL AND status <> 'done';

COMMENT ON TABLE kafka.stored_dead_letter IS
'messages that a rollup could not count; read it through the view kafka.dead_letters';
COMMENT ON COLUMN kafka.stored_dead_letter.key_hash IS
'of its unique key, which is not forgotten before the letter is done; NULL where there is none, or the message could not be decoded so far';
COMMENT ON COLUMN kafka.stored_dead_letter.digest IS
'tells the message from that of a topic made anew, which has the same offset';

-- Written for every message: a foreign key would double its cost.
CREATE TABLE kafka.stored_key (
  rollup_id int NOT NULL,
  key_hash uuid NOT NULL,
  seen_at timestamptz NOT NULL,
  newest timestamptz NOT NULL,
  PRIMARY KEY (rollup_id, key_hash, seen_at)
);
CREATE INDEX ON kafka.stored_key (rollup_id, newest);

COMMENT ON TABLE kafka.stored_key IS
'the unique keys that rollups with the option unique_key have counted, as hashes: one row a message';
COMMENT ON COLUMN kafka.stored_key.seen_at IS
'the message''s record time; two of a key are further apart than unique_within';
COMMENT ON COLUMN kafka.stored_key.newest IS
'the latest record time in the message''s partition after the batch that counted it; the row is forgotten by it';

CREATE TABLE kafka.rollup_aggregate (
  aggregate text PRIMARY KEY,
  extension name,
  states text[] NOT NULL,
  merges text[] NOT NULL,
  final text NOT NULL,
  built_in boolean NOT NULL DEFAULT false,
  CHECK (cardinality(states) > 0 AND cardinality(states) = cardinality(merges))
);

COMMENT ON TABLE kafka.rollup_aggregate IS
'the aggregates that rollups can keep, and how; whoever may write to it decides what code rollups run with their owners'' rights';
COMMENT ON COLUMN kafka.rollup_aggregate.aggregate IS
'signature, such as pg_catalog.sum(integer), or a name alone for all of that name; where extension is given, a name in that extension''s schema';
COMMENT ON COLUMN kafka.rollup_aggregate.extension IS
'the extension that the aggregate belongs to, NULL for none; the entry is ignored where it is not installed';
COMMENT ON COLUMN kafka.rollup_aggregate.states IS
'the columns stored: SQL expressions with aggregates over the arguments $1, $2, ...; the two parameters after the last argument are the source row''s partition and offset';
COMMENT ON COLUMN kafka.rollup_aggregate.merges IS
'for each state of k, the SQL expression that merges the stored states $1 ... $k with a batch''s $k+1 ... $2k';
COMMENT ON COLUMN kafka.rollup_aggregate.final IS
'the SQL expression that makes the aggregate''s result of the states $1 ... $k';
COMMENT ON COLUMN kafka.rollup_aggregate.built_in IS
'true for entries that came with the extension';

--
-- What pg_dump takes along: the rows of every table, and where the numbers of
-- new rows go on.
--

SELECT pg_catalog.pg_extension_config_dump('kafka.stored_rollup', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_rollup_rollup_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_position', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_progress', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_run', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_run_run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_dead_letter_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_key', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.rollup_aggregate', 'WHERE NOT built_in');
