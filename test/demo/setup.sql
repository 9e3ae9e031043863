-- The demo's tables; variable: brokers.
CREATE EXTENSION kafka_fdw;
-- sketches for the rollup
CREATE EXTENSION hll;
CREATE EXTENSION tdigest;

CREATE SERVER demo FOREIGN DATA WRAPPER kafka_fdw
	OPTIONS (brokers :'brokers');

-- A topic of JSON messages. Columns without an option are fields of the
-- message. The two time limits are what lets a window of ts be read alone: a
-- message is in the topic at most 22 hours after and one hour before its
-- timestamp.
CREATE FOREIGN TABLE flights (
	ts timestamptz OPTIONS (timestamp 'true'),
	kafka_partition int OPTIONS (partition 'true'),
	kafka_offset bigint OPTIONS (offset 'true'),
	kafka_key text OPTIONS (key 'true'),
	carrier text,
	flight int,
	tailnum text,
	origin text,
	dest text,
	time_hour timestamptz,
	dep_delay int,
	arr_delay int,
	air_time int,
	distance int
) SERVER demo OPTIONS (topic 'flights', format 'json',
	timestamp_max_lag '22h', timestamp_max_lead '1h');

-- The same and the topic flights-live, to which messages are added.
CREATE FOREIGN TABLE all_flights (
	ts timestamptz OPTIONS (timestamp 'true'),
	carrier text,
	flight int,
	tailnum text,
	dep_delay int
) SERVER demo OPTIONS (topic 'flights,flights-live', format 'json');

-- A topic of CSV lines; the columns are in the order of the line.
CREATE FOREIGN TABLE weather (
	ts timestamptz OPTIONS (timestamp 'true'),
	origin text,
	year int,
	month int,
	day int,
	hour int,
	temp float8,
	dewp float8,
	humid float8,
	wind_dir float8,
	wind_speed float8,
	wind_gust float8,
	precip float8,
	pressure float8,
	visib float8,
	time_hour timestamptz
) SERVER demo OPTIONS (topic 'weather', format 'csv', "null" 'NA');

-- Mistakes to look at.
CREATE FOREIGN TABLE misspelt (
	carrier text
) SERVER demo OPTIONS (topic 'fligths', format 'json');

CREATE FOREIGN TABLE mistyped (
	flight int,
	dest int
) SERVER demo OPTIONS (topic 'flights', format 'json');

-- An ordinary table; test/demo/run fills it.
CREATE TABLE airlines (
	carrier text PRIMARY KEY,
	name text NOT NULL
);
