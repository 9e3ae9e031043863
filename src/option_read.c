/*-------------------------------------------------------------------------
 *
 * option_read.c
 *		Reads the options of existing objects, and checks columns' types.
 *
 * Nothing is cached: the catalogs' caches are fast enough for what happens
 * once in a plan and once in a scan, and what is never kept is never stale.
 *
 * IDENTIFICATION
 *		src/option_read.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "catalog/pg_user_mapping.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "option_table.h"

#define MAX_ROLE_TYPES 5

/* The types that a role's column can have, domains over them included. */
typedef struct KafkaRoleTypes
{
	KafkaRole role;
	Oid types[MAX_ROLE_TYPES]; /* InvalidOid ends them early */
} KafkaRoleTypes;

static const KafkaRoleTypes role_types[] = {
	{KAFKA_ROLE_TOPIC, {TEXTOID, VARCHAROID}},
	{KAFKA_ROLE_PARTITION, {INT4OID, INT2OID, INT8OID}},
	{KAFKA_ROLE_OFFSET, {INT8OID}},
	{KAFKA_ROLE_TIMESTAMP, {TIMESTAMPTZOID, TIMESTAMPOID}},
	{KAFKA_ROLE_TIMESTAMP_TYPE, {TEXTOID, VARCHAROID}},
	{KAFKA_ROLE_KEY, {TEXTOID, VARCHAROID, BYTEAOID, JSONOID, JSONBOID}},
	{KAFKA_ROLE_HEADERS, {JSONBOID, JSONOID}},
	{KAFKA_ROLE_VALUE, {TEXTOID, VARCHAROID, BYTEAOID, JSONOID, JSONBOID}},
	{KAFKA_ROLE_JUNK, {TEXTOID, VARCHAROID, BYTEAOID}},
	{KAFKA_ROLE_JUNK_ERROR, {TEXTOID, VARCHAROID}},
};

static const Oid raw_types[MAX_ROLE_TYPES] = {BYTEAOID, TEXTOID, VARCHAROID};

static const Oid instant_types[MAX_ROLE_TYPES] = {TIMESTAMPTZOID};

static const Oid time_types[MAX_ROLE_TYPES] = {TIMESTAMPTZOID, TIMESTAMPOID,
											   DATEOID};

/*
 * Raises an error where a server belongs to another wrapper.  A caller that
 * was handed any table or server would otherwise complain of the options of
 * that other wrapper.  Wrappers can have any name; what tells is the handler.
 */
static void
check_wrapper(const ForeignServer *server)
{
	ForeignDataWrapper *wrapper = GetForeignDataWrapper(server->fdwid);
	HeapTuple tuple;
	bool is_ours = false;

	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(wrapper->fdwhandler));
	if (HeapTupleIsValid(tuple))
	{
		bool is_null;
		Datum symbol =
			SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &is_null);

		is_ours = !is_null && strcmp(TextDatumGetCString(symbol),
									 "kafka_fdw_handler") == 0;
		ReleaseSysCache(tuple);
	}

	if (!is_ours)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a Kafka server",
						server->servername),
				 errdetail("It belongs to the foreign-data wrapper \"%s\".",
						   wrapper->fdwname)));
}

/*
 * The options of the user mapping in force, and its OID or InvalidOid.  Unlike
 * GetUserMapping this takes having none for an answer.
 */
static List *
fetch_user_mapping(Oid serverid, Oid userid, Oid *umid)
{
	HeapTuple tuple;
	Datum datum;
	bool is_null;
	List *given = NIL;

	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(userid),
							ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tuple)) /* PUBLIC's is stored under no user */
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
								ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(serverid));

	*umid = InvalidOid;
	if (!HeapTupleIsValid(tuple))
		return NIL;

	*umid = ((Form_pg_user_mapping) GETSTRUCT(tuple))->oid;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &is_null);
	if (!is_null)
		given = untransformRelOptions(datum);
	ReleaseSysCache(tuple);

	return given;
}

KafkaConnectionOptions *
kafka_option_read_connection(Oid serverid, Oid userid)
{
	KafkaConnectionOptions *connection = palloc0(sizeof(*connection));
	ForeignServer *server = GetForeignServer(serverid);
	List *mapping;

	check_wrapper(server);
	mapping = fetch_user_mapping(serverid, userid, &connection->umid);
	connection->serverid = serverid;
	connection->server_name = server->servername;
	kafka_option_read_list(KAFKA_ON_SERVER, server->options, connection);
	kafka_option_read_list(KAFKA_ON_USER_MAPPING, mapping, connection);

	/* Without them the library refuses to start, in words of its own. */
	if (connection->sasl_mechanism != NULL &&
		(connection->username == NULL || connection->password == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("options \"username\" and \"password\" are required "
						"for user mappings of server \"%s\"",
						server->servername),
				 errhint("Give them in a user mapping for \"%s\" or PUBLIC.",
						 GetUserNameFromId(userid, false))));

	return connection;
}

KafkaTableOptions *
kafka_option_read_table(Oid relid)
{
	KafkaTableOptions *table = palloc0(sizeof(*table));
	ForeignTable *foreign_table;
	const char *name;

	name = get_rel_name(relid);
	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation with OID %u does not exist", relid)));
	if (get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a foreign table", name)));

	foreign_table = GetForeignTable(relid);
	check_wrapper(GetForeignServer(foreign_table->serverid));
	table->relid = relid;
	table->serverid = foreign_table->serverid;
	kafka_option_read_list(KAFKA_ON_TABLE, foreign_table->options, table);

	return table;
}

static bool
has_type(const Oid *types, Oid type)
{
	int i;

	for (i = 0; i < MAX_ROLE_TYPES && OidIsValid(types[i]); i++)
	{
		if (types[i] == type)
			return true;
	}
	return false;
}

/* Raises an error unless the column's type, or its base type, is in types. */
static void
require_type(const KafkaTableOptions *table, Form_pg_attribute attribute,
			 const Oid *types, const char *subject)
{
	StringInfoData names;
	int i;

	if (has_type(types, getBaseType(attribute->atttypid)))
		return;

	initStringInfo(&names);
	for (i = 0; i < MAX_ROLE_TYPES && OidIsValid(types[i]); i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "",
						 format_type_be(types[i]));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
			 errmsg("column \"%s\" of foreign table \"%s\" has type %s, which "
					"%s cannot have",
					NameStr(attribute->attname), get_rel_name(table->relid),
					format_type_be(attribute->atttypid), subject),
			 errhint("Valid types are: %s.", names.data)));
}

static void
require_format_json(const KafkaTableOptions *table,
					Form_pg_attribute attribute, List *given, const char *name)
{
	if (table->format != KAFKA_FORMAT_JSON &&
		kafka_option_find_given(given, name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("column \"%s\" of foreign table \"%s\" has option "
						"\"%s\", which is valid only with format \"json\"",
						NameStr(attribute->attname),
						get_rel_name(table->relid), name)));
}

static void
read_payload_column(const KafkaTableOptions *table,
					Form_pg_attribute attribute, List *given,
					KafkaColumnOptions *column)
{
	require_format_json(table, attribute, given, "json");
	require_format_json(table, attribute, given, "from");
	if (column->time_format != KAFKA_TIME_FORMAT_NONE)
		require_type(table, attribute, time_types,
					 "a column with option \"time_format\"");
	if (column->max_skew_ms >= 0)
		require_type(table, attribute, instant_types,
					 "a column with option \"max_skew\"");
	if (table->format == KAFKA_FORMAT_RAW)
		require_type(table, attribute, raw_types,
					 "the message in format \"raw\"");

	if (column->path == NULL)
		column->path = pstrdup(NameStr(attribute->attname));
	column->path =
		pg_server_to_any(column->path, strlen(column->path), PG_UTF8);
}

static void
check_role_type(const KafkaTableOptions *table, Form_pg_attribute attribute,
				KafkaRole role)
{
	int i;

	for (i = 0; i < (int) lengthof(role_types); i++)
	{
		if (role_types[i].role == role)
			require_type(table, attribute, role_types[i].types,
						 psprintf("a column with option \"%s\"",
								  kafka_option_role_name(role)));
	}
}

/* Only a time in the message can be away from its record's time. */
static void
forbid_skew(const KafkaTableOptions *table, Form_pg_attribute attribute,
			const KafkaColumnOptions *column)
{
	if (column->max_skew_ms >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("column \"%s\" of foreign table \"%s\" has option "
						"\"max_skew\", which is not valid together with "
						"option \"%s\"",
						NameStr(attribute->attname),
						get_rel_name(table->relid),
						kafka_option_role_name(column->role))));
}

static void
read_column(const KafkaTableOptions *table, Form_pg_attribute attribute,
			KafkaColumnOptions *column)
{
	List *given;

	column->attnum = attribute->attnum;
	column->max_skew_ms = -1;
	if (attribute->attisdropped || attribute->attgenerated != '\0')
	{
		column->dropped = true;
		return;
	}

	given = GetForeignColumnOptions(table->relid, attribute->attnum);
	kafka_option_read_list(KAFKA_ON_COLUMN, given, column);
	if (column->role == KAFKA_ROLE_PAYLOAD)
		read_payload_column(table, attribute, given, column);
	else
	{
		forbid_skew(table, attribute, column);
		check_role_type(table, attribute, column->role);
	}
}

/* Raises an error where two columns cannot both be there. */
static void
check_pair(const KafkaTableOptions *table, TupleDesc tupdesc,
		   const KafkaColumnOptions *first, const KafkaColumnOptions *second)
{
	const char *first_name;
	const char *second_name;

	if (first->dropped || second->dropped || first->role != second->role)
		return;

	first_name = NameStr(TupleDescAttr(tupdesc, first->attnum - 1)->attname);
	second_name = NameStr(TupleDescAttr(tupdesc, second->attnum - 1)->attname);

	if (first->role != KAFKA_ROLE_PAYLOAD)
		ereport(
			ERROR,
			(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
			 errmsg("columns \"%s\" and \"%s\" of foreign table \"%s\" both "
					"have option \"%s\"",
					first_name, second_name, get_rel_name(table->relid),
					kafka_option_role_name(first->role))));

	if (table->format == KAFKA_FORMAT_TEXT ||
		table->format == KAFKA_FORMAT_RAW)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("columns \"%s\" and \"%s\" of foreign table \"%s\" "
						"cannot both hold the message",
						first_name, second_name, get_rel_name(table->relid)),
				 errdetail("In format \"%s\" a message is a single field.",
						   table->format == KAFKA_FORMAT_TEXT ? "text"
															  : "raw"),
				 errhint("Give one of them an option such as \"key\" or "
						 "\"offset\", or choose another format.")));
}

KafkaColumnOptions *
kafka_option_read_columns(KafkaTableOptions *table, TupleDesc tupdesc)
{
	KafkaColumnOptions *columns;
	int i;
	int j;

	columns = palloc0(sizeof(KafkaColumnOptions) * Max(tupdesc->natts, 1));
	for (i = 0; i < tupdesc->natts; i++)
	{
		read_column(table, TupleDescAttr(tupdesc, i), &columns[i]);
		for (j = 0; j < i; j++)
			check_pair(table, tupdesc, &columns[j], &columns[i]);

		/* Who asks to see bad messages does not want to stop at them. */
		if (!table->on_error_given &&
			(columns[i].role == KAFKA_ROLE_JUNK ||
			 columns[i].role == KAFKA_ROLE_JUNK_ERROR))
			table->on_error = KAFKA_ON_ERROR_NULL;
	}
	return columns;
}

bool
kafka_option_has_partition(const KafkaTableOptions *table, int32 partition)
{
	if (table->partitions == NULL)
		return true;
	for (int r = 0; r < table->npartitions; r++)
	{
		if (partition >= table->partitions[r].start &&
			partition < table->partitions[r].end)
			return true;
	}
	return false;
}
