/*-------------------------------------------------------------------------
 *
 * create.c
 *		kafka.create_rollup: from a query to relations, a row and positions.
 *
 * The relations are made with the caller's rights (relation.c); only the rows in
 * schema kafka are written as the extension's owner.
 *
 * IDENTIFICATION
 *		src/rollup/create.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "rollup/analyze.h"
#include "rollup/apply.h"
#include "rollup/schedule.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

KAFKA_SQL_FUNCTION(kafka_create_rollup);

typedef enum CreateArgument
{
	ARGUMENT_NAME,
	ARGUMENT_QUERY,
	ARGUMENT_START_AT,
	ARGUMENT_START_OFFSETS,
	ARGUMENT_START_GROUP,
	ARGUMENT_SCHEDULE,
	ARGUMENT_EXPECT,
	ARGUMENT_LATE_LIMIT,
	ARGUMENT_FUTURE_LIMIT,
	ARGUMENT_OPTIONS
} CreateArgument;

/* A rollup in the making. */
typedef struct NewRollup
{
	KafkaRollupPlace place;
	KafkaRollupSpec *spec;
	KafkaRollupOptions options;
	KafkaRollupRelations relations;
	bool has_start_at;
	TimestampTz start_at;
	bool has_valid_from;
	TimestampTz valid_from;
} NewRollup;

/* ----------------------------------------------------------------
 * Arguments
 * ----------------------------------------------------------------
 */

static char *
get_text(FunctionCallInfo fcinfo, CreateArgument argument)
{
	if (PG_ARGISNULL(argument))
		return NULL;
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* A limit must be longer than no time. */
static void
check_limit(FunctionCallInfo fcinfo, CreateArgument argument, const char *name)
{
	Interval zero = {0, 0, 0};

	if (PG_ARGISNULL(argument))
		return;
	if (DatumGetInt32(DirectFunctionCall2(interval_cmp,
										  PG_GETARG_DATUM(argument),
										  IntervalPGetDatum(&zero))) <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be longer than zero", name)));
}

/* Sets name and schema, where the caller may create relations. */
static void
choose_schema(NewRollup *new, const char *text)
{
	List *names = stringToQualifiedNameList(text);
	RangeVar *range = makeRangeVarFromNameList(names);
	Oid schema = RangeVarGetCreationNamespace(range);
	AclResult result = pg_namespace_aclcheck(schema, GetUserId(), ACL_CREATE);

	new->place.name = range->relname;
	new->place.schema = get_namespace_name(schema);
	if (isAnyTempNamespace(schema))
		ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
						errmsg("rollups cannot be temporary")));
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_SCHEMA, new->place.schema);
	if (strlen(new->place.name) + KAFKA_ROLLUP_LONGEST_AFFIX >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("name of rollup \"%s\" is too long", new->place.name),
				 errdetail("It can have %d bytes.",
						   (int) (NAMEDATALEN - 1 -
								  KAFKA_ROLLUP_LONGEST_AFFIX))));
}

static void
pg_attribute_noreturn() report_duplicate(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("rollup \"%s\" already exists", name),
			 errdetail("Names of rollups are unique in a database, whatever "
					   "their schema.")));
}

static void
check_relation_name(const char *name, Oid schema)
{
	if (OidIsValid(get_relname_relid(name, schema)))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_TABLE),
						errmsg("relation \"%s\" already exists", name)));
}

/* Refuses what is taken before anything is done. */
static void
check_names(const NewRollup *new)
{
	Oid schema = get_namespace_oid(new->place.schema, false);
	Oid types[1] = {TEXTOID};
	Datum values[1] = {CStringGetTextDatum(new->place.name)};

	if (kafka_catalog_execute(
			"SELECT FROM kafka.stored_rollup WHERE name = $1", 1, types,
			values, NULL) > 0)
		report_duplicate(new->place.name);
	check_relation_name(new->place.name, schema);
	check_relation_name(psprintf("%s_live", new->place.name), schema);
}

/* Checks that at most one of the three ways to start is given. */
static void
check_start(FunctionCallInfo fcinfo)
{
	int given = !PG_ARGISNULL(ARGUMENT_START_AT) +
				!PG_ARGISNULL(ARGUMENT_START_OFFSETS) +
				!PG_ARGISNULL(ARGUMENT_START_GROUP);

	if (given > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only one of start_at, start_offsets and start_group "
						"can be given")));
}

/* ----------------------------------------------------------------
 * Buckets
 * ----------------------------------------------------------------
 */

/* Sets valid_from: the first edge of a bucket at or after start_at. */
static void
find_valid_from(NewRollup *new)
{
	const KafkaRollupSpec *spec = new->spec;
	KafkaRollup rollup = {.name = new->place.name,
						  .states = new->relations.states,
						  .bucket_column = spec->bucket_column};

	if (!new->has_start_at || TIMESTAMP_NOT_FINITE(new->start_at) ||
		spec->bucket_width == NULL)
		return;
	new->has_valid_from = true;
	new->valid_from =
		kafka_bucket_find_end(kafka_bucket_read(&rollup), spec->bucket_width,
							  new->start_at - 1);
	if (new->valid_from == new->start_at)
		return;
	ereport(NOTICE,
			(errmsg("start_at is not on an edge of a bucket"),
			 errdetail("The bucket it is in lacks the messages before it; "
					   "those from %s on can be whole.",
					   timestamptz_to_str(new->valid_from))));
}

/* ----------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------
 */

static const char insert_rollup_sql[] =
	"INSERT INTO kafka.stored_rollup (name, source, relation, storage,"
	" definition, states, checks, upsert, bucket_column, bucket_width,"
	" valid_from, late_limit, future_limit, options, search_path, time_zone,"
	" date_style, interval_style, system_identifier, database_id, expect,"
	" live)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
	" $15, $16, $17, $18, $19, $20, $21, $22)"
	" ON CONFLICT (name) DO NOTHING RETURNING rollup_id";

#define INSERT_NARGS 22

typedef struct InsertArguments
{
	int count;
	Oid types[INSERT_NARGS];
	Datum values[INSERT_NARGS];
	bool nulls[INSERT_NARGS];
} InsertArguments;

static void
add_value(InsertArguments *arguments, Oid type, Datum value, bool isnull)
{
	arguments->types[arguments->count] = type;
	arguments->values[arguments->count] = value;
	arguments->nulls[arguments->count++] = isnull;
}

static void
add_text(InsertArguments *arguments, const char *text)
{
	add_value(arguments, TEXTOID, text ? CStringGetTextDatum(text) : (Datum) 0,
			  text == NULL);
}

static void
add_relation(InsertArguments *arguments, Oid relid)
{
	add_value(arguments, REGCLASSOID, ObjectIdGetDatum(relid),
			  !OidIsValid(relid));
}

static Datum
get_options(FunctionCallInfo fcinfo)
{
	if (!PG_ARGISNULL(ARGUMENT_OPTIONS))
		return PG_GETARG_DATUM(ARGUMENT_OPTIONS);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
}

static int32
insert_rollup(FunctionCallInfo fcinfo, const NewRollup *new)
{
	KafkaSettings settings = kafka_catalog_current_settings();
	const KafkaRollupSpec *spec = new->spec;
	InsertArguments arguments = {0};
	bool isnull;

	add_text(&arguments, new->place.name);
	add_relation(&arguments, spec->source);
	add_relation(&arguments, new->relations.relation);
	add_relation(&arguments, new->relations.storage);
	add_relation(&arguments, new->relations.definition);
	add_relation(&arguments, new->relations.states);
	add_relation(&arguments, new->relations.checks);
	add_text(&arguments, spec->upsert_sql);
	add_text(&arguments, spec->bucket_column);
	add_value(&arguments, INTERVALOID, IntervalPGetDatum(spec->bucket_width),
			  spec->bucket_width == NULL);
	add_value(&arguments, TIMESTAMPTZOID, TimestampTzGetDatum(new->valid_from),
			  !new->has_valid_from);
	add_value(&arguments, INTERVALOID, fcinfo->args[ARGUMENT_LATE_LIMIT].value,
			  PG_ARGISNULL(ARGUMENT_LATE_LIMIT));
	add_value(&arguments, INTERVALOID,
			  fcinfo->args[ARGUMENT_FUTURE_LIMIT].value,
			  PG_ARGISNULL(ARGUMENT_FUTURE_LIMIT));
	add_value(&arguments, JSONBOID, get_options(fcinfo), false);
	add_text(&arguments, settings.search_path);
	add_text(&arguments, settings.time_zone);
	add_text(&arguments, settings.date_style);
	add_text(&arguments, settings.interval_style);
	add_value(&arguments, INT8OID,
			  Int64GetDatum((int64) GetSystemIdentifier()), false);
	add_value(&arguments, OIDOID, ObjectIdGetDatum(MyDatabaseId), false);
	add_text(&arguments, get_text(fcinfo, ARGUMENT_EXPECT));
	add_relation(&arguments, new->relations.live);
	if (kafka_catalog_execute(insert_rollup_sql, arguments.count,
							  arguments.types, arguments.values,
							  arguments.nulls) == 0)
		report_duplicate(new->place.name);
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

/* ----------------------------------------------------------------
 * The function
 * ----------------------------------------------------------------
 */

static void
tell_joins(const KafkaRollupSpec *spec)
{
	if (!spec->has_join)
		return;
	ereport(NOTICE,
			(errmsg("later changes of joined tables do not change what was "
					"counted before"),
			 spec->has_inner_join
				 ? errdetail("Messages that find no row in a joined table are "
							 "left out; compare rows_selected with messages "
							 "in kafka.rollup_runs.")
				 : 0));
}

static void
analyze(FunctionCallInfo fcinfo, NewRollup *new)
{
	KafkaRollupChecks checks;

	checks.expect = get_text(fcinfo, ARGUMENT_EXPECT);
	checks.unique_key = new->options.unique_key;
	checks.wants_time = !PG_ARGISNULL(ARGUMENT_LATE_LIMIT) ||
						!PG_ARGISNULL(ARGUMENT_FUTURE_LIMIT) ||
						checks.unique_key != NULL;
	checks.live_name = new->place.name;
	new->spec =
		kafka_rollup_analyze(get_text(fcinfo, ARGUMENT_QUERY), &checks);
}

static KafkaPositions *
resolve_start(FunctionCallInfo fcinfo, const NewRollup *new)
{
	const Jsonb *offsets = NULL;

	if (!PG_ARGISNULL(ARGUMENT_START_OFFSETS))
		offsets = PG_GETARG_JSONB_P(ARGUMENT_START_OFFSETS);
	return kafka_positions_resolve(new->spec->source,
								   new->has_start_at ? &new->start_at : NULL,
								   offsets,
								   get_text(fcinfo, ARGUMENT_START_GROUP));
}

Datum
kafka_create_rollup(PG_FUNCTION_ARGS)
{
	NewRollup new = {0};
	KafkaPositions *positions;
	int32 rollup_id;

	kafka_catalog_check_not_null(fcinfo, ARGUMENT_NAME, "name");
	kafka_catalog_check_not_null(fcinfo, ARGUMENT_QUERY, "query");
	check_start(fcinfo);
	check_limit(fcinfo, ARGUMENT_LATE_LIMIT, "late_limit");
	check_limit(fcinfo, ARGUMENT_FUTURE_LIMIT, "future_limit");
	new.options =
		kafka_rollup_read_options(DatumGetJsonbP(get_options(fcinfo)));
	kafka_schedule_check(get_text(fcinfo, ARGUMENT_SCHEDULE),
						 new.options.follow);
	new.has_start_at = !PG_ARGISNULL(ARGUMENT_START_AT);
	if (new.has_start_at)
		new.start_at = PG_GETARG_TIMESTAMPTZ(ARGUMENT_START_AT);
	choose_schema(&new, get_text(fcinfo, ARGUMENT_NAME));
	kafka_rollup_check_writable("kafka.create_rollup()");

	SPI_connect();
	check_names(&new);
	analyze(fcinfo, &new);
	positions = resolve_start(fcinfo, &new);
	new.relations = kafka_relations_create(new.spec, &new.place);
	kafka_prune_prepare(&new.options, new.spec->bucket_column,
						new.relations.storage);
	find_valid_from(&new);
	rollup_id = insert_rollup(fcinfo, &new);
	kafka_positions_write(rollup_id, positions, NULL);
	kafka_schedule_create(rollup_id, get_text(fcinfo, ARGUMENT_SCHEDULE));
	tell_joins(new.spec);
	SPI_finish();
	PG_RETURN_OID(new.relations.relation);
}
