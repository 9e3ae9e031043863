-- What the demo shows: run by test/demo/run with psql --echo-queries.
\set QUIET on
\pset footer off
\timing off

\echo
\echo '1. A first look. LIMIT stops reading at once, however long the topic is. The rows'
\echo '   come in the order of each partition, which is not that of time.'
\echo
SELECT ts, carrier, flight, origin, dest, dep_delay
FROM flights LIMIT 5;

\echo '2. The whole topic, joined with an ordinary table: flights of each airline.'
\echo
\timing on
SELECT name, count(*) AS flights,
       count(*) FILTER (WHERE dep_delay IS NULL) AS cancelled,
       round(avg(dep_delay), 1) AS mean_delay_minutes
FROM flights JOIN airlines USING (carrier)
GROUP BY name ORDER BY flights DESC LIMIT 6;

\echo
\echo '3. One day. The broker is asked for the offsets of the two times, and only what'
\echo '   lies between them is read (Messages Read), with the margin by which messages'
\echo '   may be late: 22 hours, declared in the table''s timestamp_max_lag.'
\echo
SELECT date_trunc('hour', ts) AS hour, count(*) AS flights, max(dep_delay) AS worst_delay
FROM flights
WHERE ts >= '2013-07-04' AND ts < '2013-07-05'
GROUP BY 1 ORDER BY 1 LIMIT 4;

EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)
SELECT count(*) FROM flights
WHERE ts >= '2013-07-04' AND ts < '2013-07-05';

\echo
\echo '4. The same question with pushdown off: the same answer, from the whole topic.'
\echo
SET kafka_fdw.enable_pushdown = off;

EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)
SELECT count(*) FROM flights
WHERE ts >= '2013-07-04' AND ts < '2013-07-05';

RESET kafka_fdw.enable_pushdown;

\echo
\echo '5. Two topics, JSON and CSV, joined on airport and hour: delays by visibility.'
\echo
SELECT CASE WHEN visib < 1 THEN 'under 1 mile'
            WHEN visib < 5 THEN '1 to 5 miles'
            ELSE '5 miles and more' END AS visibility,
       count(*) AS flights,
       round(avg(dep_delay), 1) AS mean_delay_minutes,
       round(100.0 * count(*) FILTER (WHERE dep_delay IS NULL) / count(*), 1) AS cancelled_percent
FROM flights JOIN weather USING (origin, time_hour)
GROUP BY 1 ORDER BY mean_delay_minutes DESC;

\timing off
\echo
\echo '6. Mistakes are told, not answered with an empty result: a table with the topic''s'
\echo '   name misspelt, and one in which an airport''s name should be a number.'
\echo
SELECT count(*) FROM misspelt;
\echo
SELECT flight, dest FROM mistyped LIMIT 1;

\echo
\echo '7. A rollup: one call declares an aggregate, one brings it up to date. What it has'
\echo '   counted is in an ordinary table: by airline and hour the flights, their mean'
\echo '   delay, and sketches of the aircraft (hll) and of the delays (tdigest).'
\echo
SELECT kafka.create_rollup('delays', $$
    SELECT carrier, date_bin('1 hour', ts, '2000-01-01') AS hour,
           count(*) AS flights, count(dep_delay) AS departed,
           avg(dep_delay) AS mean_delay,
           hll_add_agg(hll_hash_text(tailnum)) AS aircraft,
           tdigest(dep_delay, 100) AS delay
    FROM all_flights GROUP BY 1, 2 $$,
    start_offsets := '{"flights-live": {"0": "latest"}}');

\timing on
CALL kafka.run_rollups('delays');

\echo
\echo '8. Reading it asks no broker. Sketches merge, so hours become a year: how long the'
\echo '   slowest of 20 flights waits, by the hour of departure.'
\echo
SELECT to_char(hour, 'HH24:00') AS departure, sum(flights) AS flights,
       round(sum(mean_delay * departed) / sum(departed), 1) AS mean_minutes,
       round(tdigest_percentile(delay, 0.95)) AS p95_minutes,
       repeat('█', (tdigest_percentile(delay, 0.95) / 4)::int) AS p95
FROM delays GROUP BY 1 HAVING sum(flights) > 1 ORDER BY 1;

\timing off
\echo
\echo '   And by airline, with the number of different aircraft that it flew.'
\echo
SELECT rpad(name, 27) AS airline, sum(flights) AS flights,
       round(hll_cardinality(hll_union_agg(aircraft))) AS aircraft,
       round(tdigest_percentile(delay, 0.95)) AS p95_minutes,
       repeat('█', (tdigest_percentile(delay, 0.95) / 4)::int) AS p95
FROM delays JOIN airlines USING (carrier)
GROUP BY name HAVING sum(flights) > 1000 ORDER BY p95_minutes DESC;

\echo
\echo '9. Two messages come, one of them broken. The run reads these two, not the 336,776'
\echo '   before them; the broken one becomes a dead letter, whole, and holds up nothing.'
\echo
\! feed live.feed && sed -n 's/^produce.*value=/    /p' live.feed
\echo
\timing on
CALL kafka.run_rollups('delays');
\timing off

SELECT topic, kafka_offset, stage, status, message, convert_from(value, 'UTF8') AS value
FROM kafka.dead_letters WHERE rollup = 'delays' \gx

SELECT hour, carrier, flights, mean_delay::int FROM delays ORDER BY hour DESC LIMIT 1;

\echo
\echo '10. What the runs did. One that finds nothing new leaves no trace, and takes'
\echo '    milliseconds.'
\echo
\timing on
CALL kafka.run_rollups('delays');
\timing off

SELECT event, messages, pg_size_pretty(bytes) AS bytes, groups, dead_letters,
       round(extract(epoch FROM finished_at - started_at) * 1000) AS ms
FROM kafka.rollup_runs WHERE name = 'delays' ORDER BY run_id;
