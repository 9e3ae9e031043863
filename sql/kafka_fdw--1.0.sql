/* sql/kafka_fdw--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION kafka_fdw" to load this file. \quit

CREATE FUNCTION @extschema@.kafka_fdw_handler()
RETURNS fdw_handler
AS 'MODULE_PATHNAME'
LANGUAGE C STRICT;

COMMENT ON FUNCTION @extschema@.kafka_fdw_handler() IS
'handler of the foreign data wrapper kafka_fdw';

CREATE FUNCTION @extschema@.kafka_fdw_validator(text[], oid)
RETURNS void
AS 'MODULE_PATHNAME'
LANGUAGE C STRICT;

COMMENT ON FUNCTION @extschema@.kafka_fdw_validator(text[], oid) IS
'checks the options of servers, user mappings, foreign tables and columns';

CREATE FOREIGN DATA WRAPPER kafka_fdw
  HANDLER @extschema@.kafka_fdw_handler
  VALIDATOR @extschema@.kafka_fdw_validator;

COMMENT ON FOREIGN DATA WRAPPER kafka_fdw IS
'Apache Kafka topics as tables';

CREATE SCHEMA kafka;
GRANT USAGE ON SCHEMA kafka TO PUBLIC;

COMMENT ON SCHEMA kafka IS
'functions that look into Kafka topics';
