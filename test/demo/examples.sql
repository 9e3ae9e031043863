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
