-- json_oracle.sql
--		PostgreSQL's own judgement of what json_oracle.c found.
--
-- psql variables: input, the file that json_oracle wrote.
--
-- Whether a document is JSON is for jsonb_in to say; the text of a field is
-- what json_to_record gives a text column, its raw text what the operator ->
-- gives.  A path with dots is a key of that name if there is one, else what a
-- chain of -> reaches.

\set ON_ERROR_STOP on
\set QUIET on
\pset tuples_only on
\pset format unaligned

SET client_min_messages = warning;
SET client_encoding = 'UTF8';

DO $$
BEGIN
	IF current_setting('server_encoding') <> 'UTF8' THEN
		RAISE 'the database must have encoding UTF8';
	END IF;
END
$$;

CREATE TEMPORARY TABLE parsed
(
	id			int PRIMARY KEY,
	document	bytea NOT NULL,
	status		int NOT NULL,		-- KafkaJsonStatus
	ask_server	boolean NOT NULL,
	kinds		int[],				-- KafkaJsonKind of each field
	texts		bytea[],
	raws		bytea[]
);

-- What PostgreSQL has for each field: the type, text and raw text.
CREATE FUNCTION pg_temp.read_fields(document json, OUT types text[],
									OUT texts text[], OUT raws json[])
LANGUAGE plpgsql AS $$
DECLARE
	columns constant text[] := ARRAY['a', 'b', 'user', 'value12',
		'key_of_16_bytes_', 'a_key_longer_than_any_word', 'ä',
		'say "x\y"'];
	paths constant text[] := ARRAY['user.id', 'user.name', 'a.b.c', 'a.b',
		'b.a', 'user.id', '.a', 'a.'];
	path text;
	name text;
	value json;
BEGIN
	SELECT ARRAY[r.a, r.b, r."user", r.value12, r.key_of_16_bytes_,
				 r.a_key_longer_than_any_word, r."ä", r."say ""x\y"""]
	INTO texts
	FROM json_to_record(document) AS r
		(a text, b text, "user" text, value12 text, key_of_16_bytes_ text,
		 a_key_longer_than_any_word text, "ä" text, "say ""x\y""" text);
	FOREACH name IN ARRAY columns LOOP
		raws := raws || (document -> name);
	END LOOP;
	FOREACH path IN ARRAY paths LOOP
		value := document -> path;
		IF value IS NULL THEN
			value := document;
			FOREACH name IN ARRAY string_to_array(path, '.') LOOP
				value := value -> name;
			END LOOP;
		END IF;
		raws := raws || value;
		texts := texts || (json_build_array(value) ->> 0);
	END LOOP;
	FOREACH value IN ARRAY raws LOOP
		types := types || json_typeof(value);
	END LOOP;
END
$$;

-- Returns what is wrong with a row, or NULL.
CREATE FUNCTION pg_temp.judge(p parsed) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	-- by KafkaJsonKind
	types constant text[] := ARRAY[NULL, 'null', 'boolean', 'boolean',
		'number', 'string', 'object', 'array'];
	document text;
	root text;
	code text;
	want record;
BEGIN
	BEGIN
		document := convert_from(p.document, 'UTF8');
		root := jsonb_typeof(document::jsonb);
	EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
		code := SQLSTATE;
	END;
	CASE p.status
		WHEN 1 THEN
			RETURN CASE WHEN code IS NULL
				THEN 'refused, but jsonb_in takes it' END;
		WHEN 2 THEN
			-- a bare number that numeric does not take is no object either
			RETURN CASE WHEN root = 'object' OR code <> '22003'
				THEN format('no object, but jsonb_in says %s', coalesce(root, code)) END;
		WHEN 0 THEN
			IF code IS NOT NULL THEN
				RETURN CASE WHEN NOT p.ask_server
					THEN format('accepted, but jsonb_in says %s', code) END;
			ELSIF root <> 'object' THEN
				RETURN format('an object, but jsonb_in says %s', root);
			END IF;
	END CASE;
	SELECT * INTO want FROM pg_temp.read_fields(document::json);
	FOR i IN 1 .. cardinality(p.kinds) LOOP
		IF types[p.kinds[i] + 1] IS DISTINCT FROM want.types[i]
			OR p.texts[i] IS DISTINCT FROM convert_to(want.texts[i], 'UTF8')
			OR p.raws[i] IS DISTINCT FROM convert_to(want.raws[i]::text, 'UTF8')
			OR (p.kinds[i] = 2 AND p.texts[i] <> 'false')
			OR (p.kinds[i] = 3 AND p.texts[i] <> 'true') THEN
			RETURN format('field %s is %s %s, not %s %s', i, p.kinds[i],
						  p.raws[i], want.types[i], want.raws[i]);
		END IF;
	END LOOP;
	RETURN NULL;
END
$$;

\copy parsed FROM PSTDIN

CREATE TEMPORARY TABLE judged AS
SELECT p.id, p.document, p.status, p.ask_server, pg_temp.judge(p) AS mismatch
FROM parsed p;

SELECT format('mismatch in document %s: %s: %s', id, mismatch,
			  left(encode(document, 'escape'), 500))
FROM judged WHERE mismatch IS NOT NULL ORDER BY id LIMIT 10;

SELECT format('json_oracle: %s documents, %s accepted, %s no objects, '
			  '%s refused, %s for the server to judge, %s mismatches',
			  count(*), count(*) FILTER (WHERE status = 0),
			  count(*) FILTER (WHERE status = 2),
			  count(*) FILTER (WHERE status = 1),
			  count(*) FILTER (WHERE ask_server), count(mismatch))
FROM judged;

-- A generator gone wrong must not pass for a parser that is right.
DO $$
DECLARE
	mismatches bigint;
	accepted bigint;
	refused bigint;
BEGIN
	SELECT count(mismatch), count(*) FILTER (WHERE status = 0),
		   count(*) FILTER (WHERE status = 1)
	INTO mismatches, accepted, refused FROM judged;
	IF mismatches > 0 THEN
		RAISE '% mismatches', mismatches;
	ELSIF accepted * 5 < refused OR refused * 5 < accepted THEN
		RAISE 'documents are too one-sided to tell anything';
	END IF;
END
$$;
