--
-- Tables of every shape: columns dropped, added, generated, with long names,
-- many of them, and of types beside the usual. columns.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER columns FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA columns;
SET search_path = columns, public;

--
-- Fields that a message lacks are NULL, and take none of the others with them.
--
CREATE FOREIGN TABLE sparse (a int, b text, c numeric, d boolean) SERVER columns OPTIONS (topic 'columns');
SELECT a, b, c, d FROM sparse ORDER BY a;
SELECT c FROM sparse WHERE a IS NULL ORDER BY c;
SELECT d, c, b FROM sparse WHERE c = 5;
CREATE FOREIGN TABLE names (a int, "A" int, "with space" text, o bigint OPTIONS (offset 'true')) SERVER columns OPTIONS (topic 'columns');
SELECT * FROM names WHERE o = 0;

--
-- Dropped and added columns
--
CREATE FOREIGN TABLE changed (
    gone_first int, o bigint OPTIONS (offset 'true'), a text, gone text OPTIONS (json 'b'), b text,
    gone_p int OPTIONS (partition 'true'), c numeric, gone_last boolean
) SERVER columns OPTIONS (topic 'columns');
ALTER FOREIGN TABLE changed DROP COLUMN gone_first, DROP COLUMN gone, DROP COLUMN gone_p, DROP COLUMN gone_last;
SELECT * FROM changed ORDER BY o;
SELECT changed FROM changed ORDER BY o;
SELECT c, count(*) FROM changed WHERE a IS NOT NULL GROUP BY c ORDER BY c NULLS FIRST;
SELECT b FROM changed WHERE o = 3 AND a = '-1';
ALTER FOREIGN TABLE changed ADD COLUMN d boolean DEFAULT true, ADD COLUMN p int OPTIONS (partition 'true'), ADD COLUMN k text OPTIONS (key 'true');
SELECT * FROM changed ORDER BY o;
SELECT changed, p FROM changed WHERE p = 0 AND o = 0;
ALTER FOREIGN TABLE changed ALTER a TYPE int;
ALTER FOREIGN TABLE changed RENAME COLUMN a TO number;
SELECT o, number FROM changed ORDER BY o;
ALTER FOREIGN TABLE changed ALTER number OPTIONS (ADD json 'a');
SELECT sum(number) FROM changed;
ALTER FOREIGN TABLE changed DROP COLUMN o, DROP COLUMN p;
SELECT * FROM changed WHERE k = 'd';
ALTER FOREIGN TABLE changed DROP COLUMN number, DROP COLUMN b, DROP COLUMN c, DROP COLUMN d, DROP COLUMN k;
SELECT count(*) FROM changed;
SELECT * FROM changed LIMIT 1;
-- A generated column is computed when a row is written, and none is here.
CREATE FOREIGN TABLE generated (a int, twice int GENERATED ALWAYS AS (a * 2) STORED, b text, k text OPTIONS (key 'true')) SERVER columns OPTIONS (topic 'columns');
SELECT * FROM generated ORDER BY k;
SELECT k FROM generated WHERE twice IS NULL AND a = 1;
-- NOT NULL is what the user promises.
CREATE FOREIGN TABLE promised (a int NOT NULL CHECK (a > 0), k text OPTIONS (key 'true')) SERVER columns OPTIONS (topic 'columns');
SELECT * FROM promised ORDER BY k;

--
-- Many columns, with names that take more than a kilobyte together
--
DO $$
BEGIN
	EXECUTE format('CREATE FOREIGN TABLE wide (%s, o bigint OPTIONS (offset ''true'')) SERVER columns OPTIONS (topic ''columns_wide'')',
		(SELECT string_agg(format('column_with_a_rather_long_name_so_that_names_take_much_room_%s int', lpad(g::text, 3, '0')), ', ' ORDER BY g)
		FROM generate_series(1, 300) AS g));
END $$;
\pset format unaligned
SELECT count(*), sum(length(attname)) > 10000 AS is_long FROM pg_attribute WHERE attrelid = 'wide'::regclass AND attnum > 0;
SELECT column_with_a_rather_long_name_so_that_names_take_much_room_001, column_with_a_rather_long_name_so_that_names_take_much_room_300 FROM wide ORDER BY 1;
SELECT o, jsonb_strip_nulls(to_jsonb(wide)) FROM wide ORDER BY o;
SELECT column_with_a_rather_long_name_so_that_names_take_much_room_150 FROM wide
WHERE column_with_a_rather_long_name_so_that_names_take_much_room_300 = 300 AND column_with_a_rather_long_name_so_that_names_take_much_room_001 = 1;
\pset format aligned
SELECT num_nulls(VARIADIC ARRAY(SELECT value FROM jsonb_each_text(to_jsonb(wide)))) AS nulls FROM wide;

--
-- Domains, enums, arrays, composites, ranges
--
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE xy AS (x int, y text);
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE DOMAIN needed AS text NOT NULL;
CREATE DOMAIN smaller AS small CHECK (VALUE > 0);
CREATE FOREIGN TABLE types (
    o bigint OPTIONS (offset 'true'), a smaller, mood mood, list int[], point xy, span int4range, matrix int[][]
) SERVER columns OPTIONS (topic 'columns');
SELECT * FROM types WHERE o < 3 ORDER BY o;
SELECT o, mood, list, point, span FROM types ORDER BY o;
SELECT o, (point).y, list[3], matrix[2][1], upper(span) FROM types WHERE mood > 'sad' AND span @> 4;
SELECT mood, count(*) FROM types GROUP BY mood ORDER BY mood;
SELECT o FROM types ORDER BY point, o;
SELECT a FROM types WHERE o = 3;
CREATE FOREIGN TABLE bad (
    o bigint OPTIONS (offset 'true'), a small, small small, mood mood, list int[], point xy, span int4range, b needed, why text OPTIONS (junk_error 'true')
) SERVER columns OPTIONS (topic 'columns_bad');
SELECT o, a, small, mood, list, point, span, b FROM bad ORDER BY o;
SELECT o, why FROM bad ORDER BY o \gx
ALTER FOREIGN TABLE bad OPTIONS (ADD on_error 'error');
SELECT a FROM bad WHERE o < 4 ORDER BY a;
SELECT mood FROM bad;
SELECT small FROM bad;
SELECT list FROM bad;
SELECT point FROM bad;
SELECT span FROM bad;
SELECT b FROM bad;
SELECT a FROM bad;

--
-- Types that a role cannot have, and doubled roles, are errors at first use.
--
CREATE FUNCTION try_type(role text, type text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text := 'is fine';
BEGIN
	EXECUTE format('CREATE FOREIGN TABLE columns.try (c %s OPTIONS (%s ''true''), rest int) SERVER columns OPTIONS (topic ''columns'')', type, role);
	BEGIN
		EXECUTE 'EXPLAIN SELECT FROM columns.try';
	EXCEPTION WHEN OTHERS THEN
		message := SQLERRM;
	END;
	DROP FOREIGN TABLE columns.try;
	RETURN message;
END $$;
SELECT role, string_agg(type, ', ' ORDER BY type) AS types
FROM unnest(ARRAY['partition', 'offset', 'timestamp', 'timestamp_type', 'topic', 'key', 'headers', 'value', 'junk', 'junk_error']) AS role,
    unnest(ARRAY['smallint', 'int', 'bigint', 'numeric', 'text', 'bytea', 'jsonb', 'timestamptz', 'timestamp', 'date', 'small', 'mood', 'int[]', 'char', 'varchar(3)', 'json', 'xml', 'oid', 'name', 'float8', 'needed']) AS type
WHERE try_type(role, type) = 'is fine' GROUP BY role ORDER BY role;
SELECT try_type('partition', 'text');
SELECT try_type('offset', 'int');
SELECT try_type('timestamp', 'bigint');
SELECT try_type('headers', 'text');
SELECT try_type('junk', 'int');
CREATE FOREIGN TABLE doubled (a int OPTIONS (partition 'true'), b int OPTIONS (partition 'true'), c bigint OPTIONS (offset 'true')) SERVER columns OPTIONS (topic 'columns');
SELECT c FROM doubled;
EXPLAIN SELECT c FROM doubled;
ALTER FOREIGN TABLE doubled DROP COLUMN a;
SELECT b, c FROM doubled ORDER BY c LIMIT 2;

SET client_min_messages = warning;
DROP SCHEMA columns CASCADE;
DROP SERVER columns;
