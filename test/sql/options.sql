--
-- Options of servers, user mappings, foreign tables and columns.
-- Nothing here reaches a broker.
--

--
-- Names
--
CREATE SERVER s FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokerz 'b:9092');
CREATE SERVER s FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers 'b:9092', username 'u');
CREATE SERVER s FOREIGN DATA WRAPPER kafka_fdw OPTIONS (bootstrap 'b:9092');
CREATE FOREIGN DATA WRAPPER kafka_other VALIDATOR kafka_fdw_validator OPTIONS (whatever 'x');
CREATE SERVER s FOREIGN DATA WRAPPER kafka_fdw;
CREATE SERVER s FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers 'b:9092');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (user 'u');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (brokers 'b');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (certificate 'x');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topik 'x');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'x', key 'true');
CREATE FOREIGN TABLE t (a text OPTIONS (ofset 'true')) SERVER s OPTIONS (topic 'x');
CREATE FOREIGN TABLE t (a text OPTIONS (format 'json')) SERVER s OPTIONS (topic 'x');
CREATE FOREIGN TABLE t (a text OPTIONS (nothing_like_it 'x')) SERVER s OPTIONS (topic 'x');

--
-- Servers
--
ALTER SERVER s OPTIONS (SET brokers '');
ALTER SERVER s OPTIONS (SET brokers 'a,,b');
ALTER SERVER s OPTIONS (SET brokers 'a:9092,');
ALTER SERVER s OPTIONS (SET brokers 'kafka://a:9092');
ALTER SERVER s OPTIONS (SET brokers 'a:0');
ALTER SERVER s OPTIONS (SET brokers 'a:65536');
ALTER SERVER s OPTIONS (SET brokers 'a:');
ALTER SERVER s OPTIONS (SET brokers 'a:90x');
ALTER SERVER s OPTIONS (SET brokers 'a b:9092');
ALTER SERVER s OPTIONS (SET brokers ':9092');
ALTER SERVER s OPTIONS (SET brokers '::1');
ALTER SERVER s OPTIONS (SET brokers '[::1');
ALTER SERVER s OPTIONS (SET brokers '[::g]:9092');
ALTER SERVER s OPTIONS (SET brokers '[::1]9092');
ALTER SERVER s OPTIONS (SET brokers 'a, b_1.example.com:65535 ,[fe80::1%eth0],[::1]:1,10.0.0.1');

ALTER SERVER s OPTIONS (security_protocol 'tls');
ALTER SERVER s OPTIONS (security_protocol 'sasl_ssl');
ALTER SERVER s OPTIONS (sasl_mechanism 'PLAIN');
ALTER SERVER s OPTIONS (security_protocol 'SASL_SSL', sasl_mechanism 'GSSAPI');
ALTER SERVER s OPTIONS (security_protocol 'SASL_SSL', sasl_mechanism 'scram-sha-512');
ALTER SERVER s OPTIONS (DROP security_protocol, DROP sasl_mechanism);
ALTER SERVER s OPTIONS (ssl_verify 'maybe');
ALTER SERVER s OPTIONS (ssl_ca_pem 'x', ssl_ca_location '/y');
ALTER SERVER s OPTIONS (ssl_ca_pem '');
ALTER SERVER s OPTIONS (isolation_level 'serializable');
ALTER SERVER s OPTIONS (address_family 'v5');
ALTER SERVER s OPTIONS (client_id '');

-- durations and sizes: units, and what a bare number means
ALTER SERVER s OPTIONS (connect_timeout '10');
ALTER SERVER s OPTIONS (connect_timeout '0.09s');
ALTER SERVER s OPTIONS (connect_timeout '61 min');
ALTER SERVER s OPTIONS (connect_timeout '-1s');
ALTER SERVER s OPTIONS (connect_timeout '1e300 d');
ALTER SERVER s OPTIONS (connect_timeout 'soon');
ALTER SERVER s OPTIONS (connect_timeout '10 sec');
ALTER SERVER s OPTIONS (connect_timeout '');
ALTER SERVER s OPTIONS (connect_timeout '0.1s', fetch_timeout '1 h', max_silence '1d',
                        handle_idle_timeout '0', broker_clock_skew '500us');
ALTER SERVER s OPTIONS (memory_limit '64');
ALTER SERVER s OPTIONS (memory_limit '1023 kB');
ALTER SERVER s OPTIONS (memory_limit '2000TB');
ALTER SERVER s OPTIONS (memory_limit '64 megs');
ALTER SERVER s OPTIONS (memory_limit '1MB');

--
-- User mappings: no value is ever shown
--
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (username '');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (password '');
CREATE USER MAPPING FOR CURRENT_USER SERVER s
    OPTIONS (ssl_key_pem 'canary-1', ssl_key_location '/canary-2');
CREATE USER MAPPING FOR CURRENT_USER SERVER s
    OPTIONS (ssl_certificate_pem 'canary-1', ssl_certificate_location '/canary-2');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (username 'u', passwort 'canary');
CREATE USER MAPPING FOR CURRENT_USER SERVER s
    OPTIONS (username 'u', password 'p', ssl_certificate_pem 'c', ssl_key_pem 'k', ssl_key_password 'kp');
DROP USER MAPPING FOR CURRENT_USER SERVER s;

--
-- Tables
--
CREATE FOREIGN TABLE t (a text) SERVER s;
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'x', topic_pattern 'y');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic '');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'a,');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'a/b');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic '..');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'a, b ,a');
SELECT format('CREATE FOREIGN TABLE long (a text) SERVER s OPTIONS (topic %L)', repeat('x', 249)) \gexec
DO $$
BEGIN
    EXECUTE format('CREATE FOREIGN TABLE longer (a text) SERVER s OPTIONS (topic %L)', repeat('x', 250));
EXCEPTION WHEN invalid_parameter_value THEN
    RAISE NOTICE 'refused';
END $$;
DROP FOREIGN TABLE long;
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic_pattern '');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic_pattern 'a(');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic_pattern 'a{2,1}');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic_pattern '^log-(?!test).*$');

ALTER FOREIGN TABLE t OPTIONS (DROP topic_pattern);
ALTER FOREIGN TABLE t OPTIONS (DROP topic_pattern, topic 'a, b');
ALTER FOREIGN TABLE t OPTIONS (partitions '3-0');
ALTER FOREIGN TABLE t OPTIONS (partitions '1-2-3');
ALTER FOREIGN TABLE t OPTIONS (partitions '-1');
ALTER FOREIGN TABLE t OPTIONS (partitions '0,,1');
ALTER FOREIGN TABLE t OPTIONS (partitions '2147483648');
ALTER FOREIGN TABLE t OPTIONS (partitions '99999999999999999999');
ALTER FOREIGN TABLE t OPTIONS (partitions '');
ALTER FOREIGN TABLE t OPTIONS (partitions '0-3, 7 ,2147483647,2-5');
ALTER FOREIGN TABLE t OPTIONS (format 'avr');
ALTER FOREIGN TABLE t OPTIONS (on_error 'ignore');
ALTER FOREIGN TABLE t OPTIONS (framing 'protobuf');
ALTER FOREIGN TABLE t OPTIONS (require_bounds '2');
ALTER FOREIGN TABLE t OPTIONS (trust_time_index 'perhaps');
ALTER FOREIGN TABLE t OPTIONS (topic_limits 'false');
ALTER FOREIGN TABLE t OPTIONS (framing 'Confluent', require_bounds 'on', trust_time_index 'no', topic_limits 'ignore');

-- these two also take intervals
ALTER FOREIGN TABLE t OPTIONS (timestamp_max_lag '-1');
ALTER FOREIGN TABLE t OPTIONS (timestamp_max_lag '-1 day');
ALTER FOREIGN TABLE t OPTIONS (timestamp_max_lag '2 months');
ALTER FOREIGN TABLE t OPTIONS (timestamp_max_lag '1 year');
ALTER FOREIGN TABLE t OPTIONS (timestamp_max_lag '36501 days');
ALTER FOREIGN TABLE t OPTIONS (timestamp_max_lag 'long');
ALTER FOREIGN TABLE t OPTIONS (timestamp_max_lag 'infinity');
ALTER FOREIGN TABLE t OPTIONS (timestamp_max_lag '36500 days', timestamp_max_lead '90');
ALTER FOREIGN TABLE t OPTIONS (SET timestamp_max_lag 'P1DT2H', SET timestamp_max_lead '1:30');
DROP FOREIGN TABLE t;

-- on_error and ignore_junk
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'x', on_error 'skip', ignore_junk 'true');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'x', on_error 'null', ignore_junk 'false');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'x', ignore_junk 'junk');
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'x', on_error 'null', ignore_junk 'true');
ALTER FOREIGN TABLE t OPTIONS (SET on_error 'error', SET ignore_junk 'false');
DROP FOREIGN TABLE t;

-- the dialect of CSV
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'x', format 'csv');
ALTER FOREIGN TABLE t OPTIONS (delimiter ';;');
ALTER FOREIGN TABLE t OPTIONS (delimiter '');
ALTER FOREIGN TABLE t OPTIONS (delimiter 'é');
ALTER FOREIGN TABLE t OPTIONS (delimiter E'\n');
ALTER FOREIGN TABLE t OPTIONS (quote E'\r');
ALTER FOREIGN TABLE t OPTIONS (escape 'ab');
ALTER FOREIGN TABLE t OPTIONS (delimiter '"');
ALTER FOREIGN TABLE t OPTIONS (delimiter '|', quote '|');
ALTER FOREIGN TABLE t OPTIONS ("null" 'a,b');
ALTER FOREIGN TABLE t OPTIONS ("null" '"');
ALTER FOREIGN TABLE t OPTIONS ("null" E'a\nb');
ALTER FOREIGN TABLE t OPTIONS (strict '7');
ALTER FOREIGN TABLE t OPTIONS (delimiter E'\t', quote '''', escape E'\\', "null" '\N', strict 'true');
ALTER FOREIGN TABLE t OPTIONS (SET format 'json');
ALTER FOREIGN TABLE t OPTIONS (SET format 'json', DROP quote);
ALTER FOREIGN TABLE t OPTIONS (SET format 'json', DROP quote, DROP escape);
DROP FOREIGN TABLE t;

--
-- Columns
--
CREATE FOREIGN TABLE t (a int OPTIONS (partition 'si')) SERVER s OPTIONS (topic 'x');
CREATE FOREIGN TABLE t (a int OPTIONS (partition 'true', "offset" 'true')) SERVER s OPTIONS (topic 'x');
CREATE FOREIGN TABLE t (a int OPTIONS (partition 'true', json 'p')) SERVER s OPTIONS (topic 'x');
CREATE FOREIGN TABLE t (a text OPTIONS (key 'true', "from" 'key')) SERVER s OPTIONS (topic 'x');
CREATE FOREIGN TABLE t (a timestamptz OPTIONS ("timestamp" 'true', time_format 'unix_s')) SERVER s OPTIONS (topic 'x');
CREATE FOREIGN TABLE t (a text OPTIONS (json '')) SERVER s OPTIONS (topic 'x');
CREATE FOREIGN TABLE t (a text OPTIONS ("from" 'header')) SERVER s OPTIONS (topic 'x');
CREATE FOREIGN TABLE t (a text OPTIONS (time_format 'unix')) SERVER s OPTIONS (topic 'x');

-- a role that is false is none
CREATE FOREIGN TABLE t (a int OPTIONS (partition 'true', "offset" 'false'),
                        b int OPTIONS (partition 'false', json 'p')) SERVER s OPTIONS (topic 'x');
DO $$ BEGIN EXECUTE 'EXPLAIN SELECT * FROM t'; END $$;
DROP FOREIGN TABLE t;

--
-- What only first use can see: types, and columns together
--
CREATE DOMAIN part_number AS int2 CHECK (value >= 0);
CREATE FOREIGN TABLE t (
    p part_number OPTIONS (partition 'true'),
    o bigint OPTIONS ("offset" 'true'),
    ts timestamptz OPTIONS ("timestamp" 'true'),
    tt varchar(20) OPTIONS (timestamp_type 'true'),
    tn text OPTIONS (topic 'true'),
    k jsonb OPTIONS (key 'true'),
    h json OPTIONS (headers 'true'),
    v bytea OPTIONS (value 'true'),
    j bytea OPTIONS (junk 'true'),
    je text OPTIONS (junk_error 'true'),
    gone text,
    made text GENERATED ALWAYS AS ('x') STORED,
    f1 timestamptz OPTIONS (time_format 'unix_ms', json 'a.b'),
    f2 date OPTIONS (time_format 'iso8601'),
    f3 int[] OPTIONS ("from" 'key')
) SERVER s OPTIONS (topic 'x', format 'json');
ALTER FOREIGN TABLE t DROP COLUMN gone;
DO $$ BEGIN EXECUTE 'EXPLAIN SELECT * FROM t'; END $$;

ALTER FOREIGN TABLE t ALTER COLUMN p TYPE text;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN p TYPE bigint, ALTER COLUMN o TYPE int;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN o TYPE bigint, ALTER COLUMN ts TYPE date;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN ts TYPE timestamp, ALTER COLUMN tt TYPE int;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN tt TYPE text, ALTER COLUMN tn TYPE name;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN tn TYPE text, ALTER COLUMN k TYPE int;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN k TYPE bytea, ALTER COLUMN h TYPE text;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN h TYPE jsonb, ALTER COLUMN v TYPE int;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN v TYPE json, ALTER COLUMN j TYPE jsonb;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN j TYPE text, ALTER COLUMN je TYPE bytea;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN je TYPE varchar, ALTER COLUMN f1 TYPE text;
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN f1 TYPE timestamp, ALTER COLUMN f3 OPTIONS (DROP "from", "offset" 'true');
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN f3 OPTIONS (SET "offset" 'false');
DO $$ BEGIN EXECUTE 'EXPLAIN SELECT * FROM t'; END $$;
ALTER FOREIGN TABLE t ALTER COLUMN f3 TYPE bigint, ALTER COLUMN f3 OPTIONS (SET "offset" 'true');
EXPLAIN SELECT * FROM t;
DROP FOREIGN TABLE t;
DROP DOMAIN part_number;

CREATE FOREIGN TABLE t (a text OPTIONS (json 'x'), b text OPTIONS ("from" 'key')) SERVER s OPTIONS (topic 'x', format 'csv');
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN a OPTIONS (DROP json);
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN b OPTIONS (DROP "from");
DO $$ BEGIN EXECUTE 'EXPLAIN SELECT * FROM t'; END $$;
ALTER FOREIGN TABLE t OPTIONS (SET format 'text');
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN b OPTIONS (key 'true');
ALTER FOREIGN TABLE t ALTER COLUMN a TYPE numeric;
DO $$ BEGIN EXECUTE 'EXPLAIN SELECT * FROM t'; END $$;
ALTER FOREIGN TABLE t OPTIONS (SET format 'raw');
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN a TYPE bytea;
DO $$ BEGIN EXECUTE 'EXPLAIN SELECT * FROM t'; END $$;
DROP FOREIGN TABLE t;

--
-- The codes of the errors
--
\set VERBOSITY sqlstate
CREATE SERVER e FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokerz 'b');
CREATE SERVER e FOREIGN DATA WRAPPER kafka_fdw;
CREATE SERVER e FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers 'b:x');
CREATE FOREIGN TABLE t (a int OPTIONS ("offset" 'true')) SERVER s OPTIONS (topic 'x');
EXPLAIN SELECT * FROM t;
ALTER FOREIGN TABLE t ALTER COLUMN a TYPE bigint, ADD COLUMN b bigint OPTIONS ("offset" 'true');
EXPLAIN SELECT * FROM t;
SET kafka_fdw.allowed_brokers = 'elsewhere';
CREATE SERVER e FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers 'b');
RESET kafka_fdw.allowed_brokers;
\set VERBOSITY default
DROP FOREIGN TABLE t;

--
-- Statements written for adjust/kafka_fdw
--
CREATE SERVER kafka_server
FOREIGN DATA WRAPPER kafka_fdw
OPTIONS (brokers 'localhost:9092');
CREATE USER MAPPING FOR PUBLIC SERVER kafka_server;
CREATE FOREIGN TABLE kafka_test (
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    some_int int,
    some_text text,
    some_date date,
    some_time timestamp
)
SERVER kafka_server OPTIONS
    (format 'csv', topic 'contrib_regress', batch_size '30', buffer_delay '100');
CREATE FOREIGN TABLE kafka_test_json (
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    some_int int OPTIONS (json 'int_val'),
    some_text text OPTIONS (json 'text_val'),
    some_date date OPTIONS (json 'date_val'),
    some_time timestamp OPTIONS (json 'time_val')
)

SERVER kafka_server OPTIONS
    (format 'json', topic 'contrib_regress_json', batch_size '30', buffer_delay '100');
CREATE FOREIGN TABLE kafka_test_junk (
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    some_int int OPTIONS (force_null 'true'),
    some_text text OPTIONS (force_not_null 'true'),
    junk text OPTIONS (junk 'true'),
    junk_err text OPTIONS (junk_error 'true')
)
SERVER kafka_server OPTIONS
    (format 'csv', topic 'contrib_regress_junk', encoding 'utf8', strict 'true', ignore_junk 'true');
ALTER FOREIGN TABLE kafka_test_junk OPTIONS (ADD num_partitions '4');
CREATE FOREIGN TABLE kafka_strict_json (
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    text_val text
)
SERVER kafka_server OPTIONS
    (format 'json', topic 'contrib_regress_json_junk', delimiter ';', strict 'true');
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{kafka_test,kafka_test_json,kafka_test_junk,kafka_strict_json}'::text[] LOOP
        EXECUTE 'EXPLAIN SELECT * FROM ' || name;
    END LOOP;
END $$;
DROP SERVER kafka_server CASCADE;

--
-- Rights
--
CREATE ROLE regress_kafka_owner;
CREATE ROLE regress_kafka_reader;
GRANT pg_read_server_files TO regress_kafka_reader;
GRANT USAGE ON FOREIGN DATA WRAPPER kafka_fdw TO regress_kafka_owner, regress_kafka_reader;

SET ROLE regress_kafka_owner;
CREATE SERVER mine FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers 'b', ssl_ca_location '/etc/passwd');
CREATE SERVER mine FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers 'b', ssl_verify 'off');
CREATE SERVER mine FOREIGN DATA WRAPPER kafka_fdw
    OPTIONS (brokers 'b', security_protocol 'sasl_plaintext', sasl_mechanism 'PLAIN');
CREATE SERVER mine FOREIGN DATA WRAPPER kafka_fdw
    OPTIONS (brokers 'b', security_protocol 'sasl_plaintext', sasl_mechanism 'SCRAM-SHA-256', ssl_verify 'on', ssl_ca_pem 'x');
CREATE USER MAPPING FOR CURRENT_USER SERVER mine OPTIONS (ssl_key_location '/etc/passwd');
CREATE USER MAPPING FOR CURRENT_USER SERVER mine OPTIONS (ssl_certificate_location '/etc/passwd');
CREATE USER MAPPING FOR CURRENT_USER SERVER mine OPTIONS (ssl_certificate_pem 'x', ssl_key_pem 'y', username 'u', password 'p');
RESET ROLE;
SET ROLE regress_kafka_reader;
CREATE SERVER readers FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers 'b', ssl_ca_location '/etc/ca.pem');
ALTER SERVER readers OPTIONS (ssl_verify 'false');
CREATE USER MAPPING FOR CURRENT_USER SERVER readers OPTIONS (ssl_certificate_location '/c', ssl_key_location '/k');
RESET ROLE;
ALTER SERVER readers OPTIONS (ssl_verify 'false');
-- whoever lacks the right can only drop such an option
ALTER SERVER readers OWNER TO regress_kafka_owner;
SET ROLE regress_kafka_owner;
ALTER SERVER readers OPTIONS (SET brokers 'elsewhere');
ALTER SERVER readers OPTIONS (SET brokers 'elsewhere', DROP ssl_ca_location);
ALTER SERVER readers OPTIONS (SET brokers 'elsewhere', DROP ssl_ca_location, DROP ssl_verify);
RESET ROLE;

-- a password that is missing is noticed before anything is asked of a broker
CREATE FOREIGN TABLE t (a text) SERVER mine OPTIONS (topic 'x');
GRANT SELECT ON t TO regress_kafka_reader;
SET ROLE regress_kafka_reader;
SELECT * FROM t;
RESET ROLE;
CREATE USER MAPPING FOR PUBLIC SERVER mine OPTIONS (username 'canary');
SET ROLE regress_kafka_reader;
SELECT * FROM t;
RESET ROLE;
DROP FOREIGN TABLE t;

--
-- kafka_fdw.allowed_brokers
--
SET kafka_fdw.allowed_brokers = '*.example.com, 10.0.*:9092, [::1], [fe80::*]:90*, exact:9093';
ALTER SERVER s OPTIONS (SET brokers 'a.example.com, A.B.EXAMPLE.COM:1, 10.0.0.1, [0:0::1]:5, [fe80::1]:9099, exact:9093');
ALTER SERVER s OPTIONS (SET brokers 'a.example.com,example.com');
ALTER SERVER s OPTIONS (SET brokers 'a.example.com.evil.org');
ALTER SERVER s OPTIONS (SET brokers '10.0.0.1:9093');
ALTER SERVER s OPTIONS (SET brokers '10.0.evil.org');
ALTER SERVER s OPTIONS (SET brokers '[::2]');
ALTER SERVER s OPTIONS (SET brokers '[fe80::1]:19099');
ALTER SERVER s OPTIONS (SET brokers 'exact');
SET kafka_fdw.allowed_brokers = '*:9092';
ALTER SERVER s OPTIONS (SET brokers 'a,[::1],10.0.0.1');
ALTER SERVER s OPTIONS (SET brokers 'a:9093');
SET kafka_fdw.allowed_brokers = ' ';
ALTER SERVER s OPTIONS (SET brokers 'a:9093');
-- it binds at use as well, whenever it was set, and superusers too
CREATE FOREIGN TABLE t (a text) SERVER s OPTIONS (topic 'x');
SET kafka_fdw.allowed_brokers = 'elsewhere';
SELECT * FROM t;
RESET kafka_fdw.allowed_brokers;

DROP SERVER s CASCADE;
DROP SERVER mine CASCADE;
DROP SERVER readers CASCADE;
REVOKE USAGE ON FOREIGN DATA WRAPPER kafka_fdw FROM regress_kafka_owner, regress_kafka_reader;
DROP ROLE regress_kafka_owner, regress_kafka_reader;
