/*-------------------------------------------------------------------------
 *
 * test.c
 *		kafka.test_rollup: what a rollup makes of messages that one makes up.
 *
 * Everything but the broker is the real thing: the messages are a batch, they
 * are decoded, checked, aggregated and merged, and read through the query of
 * the view.  They come as two batches, so that a merge that is wrong shows.
 *
 * A query that is no rollup yet is analyzed as create_rollup does it, with the
 * caller's rights and settings.  Of a rollup its own views are used, with its
 * owner's rights, for which the caller must be a member of the owner; but
 * storage, and the keys that were counted, are empty.  Storage is a temporary
 * table in both cases, and everything is done in a subtransaction that is
 * rolled back.
 *
 * IDENTIFICATION
 *		src/rollup/test.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "compat.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rewrite/rewriteSupport.h"
#include "rewrite/rewriteHandler.h"
#include "fdw/guard.h"
#include "rollup/apply.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

KAFKA_SQL_FUNCTION(kafka_test_rollup);

#define STORAGE_NAME "kafka_test_rollup_storage"
#define HALVES 2

typedef struct Test
{
	MemoryContext context; /* outlives the subtransaction */
	char *text;            /* a query, or a rollup's name */
	Jsonb *messages;
	KafkaRollup *rollup; /* that is tested; made up for a query */
	KafkaApplyTask task;
	Oid storage;
	char *final_sql;   /* SELECT of the view, over the temporary storage */
	List *final_order; /* of char *: names of its columns to order by */
	KafkaPositions *positions; /* of the partitions of the messages */
	KafkaBatch *halves[HALVES];
	List *rows; /* of Jsonb *, in context */
} Test;

/* ----------------------------------------------------------------
 * What is tested
 * ----------------------------------------------------------------
 */

/* A SELECT of whatever form, or a comment before it; else it is a name. */
static bool
is_query(const char *text)
{
	static const char *const words[] = {"select", "with", "values", "table"};

	text += strspn(text, " \t\r\n");
	if (*text == '(' || strncmp(text, "--", 2) == 0 ||
		strncmp(text, "/*", 2) == 0)
		return true;
	for (int i = 0; i < lengthof(words); i++)
	{
		size_t length = strlen(words[i]);

		if (pg_strncasecmp(text, words[i], length) == 0 &&
			strchr(" \t\r\n(*'\"-/;", text[length]) != NULL)
			return true;
	}
	return false;
}

static Oid
find_storage(void)
{
	return get_relname_relid(STORAGE_NAME, LookupNamespaceNoError("pg_temp"));
}

/* Makes storage as create_rollup does, as far as it matters to the upsert. */
static void
create_storage(Test *test, const KafkaRollupSpec *spec)
{
	StringInfoData sql;
	const char *separator = "";
	ListCell *cell;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "CREATE TEMPORARY TABLE " STORAGE_NAME " (");
	foreach(cell, spec->columns)
	{
		appendStringInfoString(&sql, separator);
		kafka_relation_append_column(&sql, lfirst(cell));
		separator = ", ";
	}
	appendStringInfoChar(&sql, ')');
	kafka_relation_execute(sql.data);

	resetStringInfo(&sql);
	appendStringInfoString(&sql, "CREATE UNIQUE INDEX ON pg_temp." STORAGE_NAME
								 " (");
	separator = "";
	foreach(cell, spec->key_names)
	{
		appendStringInfo(&sql, "%s%s", separator,
						 quote_identifier(lfirst(cell)));
		separator = ", ";
	}
	appendStringInfoString(&sql, spec->nkeys > 0 ? ") NULLS NOT DISTINCT"
												 : "(true))");
	kafka_relation_execute(sql.data);
	test->storage = find_storage();
}

static void
prepare_query(Test *test)
{
	static const KafkaRollupChecks no_checks = {0};
	KafkaRollup *rollup = palloc0(sizeof(KafkaRollup));
	KafkaRollupSpec *spec;

	rollup->settings = kafka_catalog_current_settings();
	spec = kafka_rollup_analyze(test->text, &no_checks);
	rollup->name = "";
	rollup->owner = GetUserId();
	rollup->source = spec->source;
	test->rollup = rollup;
	create_storage(test, spec);
	test->task.states_sql = spec->states_sql;
	test->task.upsert_sql =
		kafka_apply_fill_storage(spec->upsert_sql, test->storage);
	test->final_sql = kafka_apply_fill_storage(spec->final_sql, test->storage);
	test->final_order = spec->key_names;
}

/* The query of the rollup's view, reading another storage. */
static char *
generate_final(const KafkaRollup *rollup, Oid storage)
{
	Relation view = relation_open(rollup->relation, AccessShareLock);
	Query *query;
	ListCell *cell;

	if (view->rd_rel->relkind != RELKIND_VIEW)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a view",
							   RelationGetRelationName(view))));
	query = copyObject(get_view_query(view));
	foreach(cell, query->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		if (entry->rtekind == RTE_RELATION && entry->relid == rollup->storage)
			entry->relid = storage;
	}
	relation_close(view, NoLock);
	return pg_get_querydef(query, false);
}

static void
prepare_rollup(Test *test)
{
	KafkaRollup *rollup = kafka_rollup_get(test->text, false);
	KafkaUserSwitch saved;
	const char *original;

	kafka_rollup_check_owner(rollup);
	test->rollup = rollup;
	test->task = kafka_apply_task_of_rollup(rollup);
	if (!OidIsValid(rollup->relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("view \"%s\" does not exist any more", rollup->name)));
	original = kafka_relation_quote(rollup->storage);
	kafka_relation_execute(psprintf("CREATE TEMPORARY TABLE " STORAGE_NAME
									" (LIKE %s INCLUDING ALL)",
									original));
	kafka_relation_execute(
		psprintf("GRANT ALL ON pg_temp." STORAGE_NAME " TO %s",
				 quote_identifier(GetUserNameFromId(rollup->owner, false))));
	test->storage = find_storage();
	test->task.upsert_sql =
		kafka_apply_fill_storage(rollup->upsert_sql, test->storage);

	/* Made into text and read again with the same settings. */
	kafka_catalog_become(&saved, rollup->owner, &rollup->settings);
	test->final_sql = generate_final(rollup, test->storage);
	kafka_catalog_restore_user(&saved);
}

/* ----------------------------------------------------------------
 * Doing it
 * ----------------------------------------------------------------
 */

/* Makes the messages into two batches. */
static void
make_halves(Test *test)
{
	static const KafkaPositions none = {0};
	KafkaTableOptions *table = kafka_option_read_table(test->rollup->source);
	KafkaBatchEntry *entries;
	int count;

	test->positions = kafka_positions_copy(&none);
	entries =
		kafka_test_read_messages(test->messages,
								 table->ntopics > 0 ? table->topics[0] : NULL,
								 &count);
	for (int half = 0; half < HALVES; half++)
	{
		MemoryContext caller = MemoryContextSwitchTo(test->context);

		test->halves[half] = kafka_batch_create(test->rollup->source);
		MemoryContextSwitchTo(caller);
	}
	for (int i = 0; i < count; i++)
	{
		kafka_batch_add_entry(test->halves[i < count / 2 ? 0 : 1],
							  &entries[i]);
		if (kafka_positions_find(test->positions, entries[i].topic,
								 entries[i].partition) == NULL)
			(void) kafka_positions_add(test->positions, entries[i].topic,
									   entries[i].partition, 0);
	}
}

/* Reads what the view shows, as the user that the rollup runs as. */
static void
read_final(Test *test)
{
	KafkaUserSwitch saved;
	StringInfoData sql;
	const char *separator = " ORDER BY ";
	ListCell *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.to_jsonb(r) FROM (%s) AS r",
					 test->final_sql);
	foreach(cell, test->final_order)
	{
		appendStringInfo(&sql, "%sr.%s", separator,
						 quote_identifier(lfirst(cell)));
		separator = ", ";
	}
	kafka_catalog_become(&saved, test->task.userid, &test->rollup->settings);
	kafka_relation_execute(sql.data);
	kafka_catalog_restore_user(&saved);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext caller = MemoryContextSwitchTo(test->context);
		bool isnull;
		Datum row = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
								  1, &isnull);

		test->rows = lappend(test->rows, DatumGetJsonbPCopy(row));
		MemoryContextSwitchTo(caller);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* In a subtransaction, of which nothing is kept but the rows. */
static bool
run_test(void *arg)
{
	Test *test = (Test *) arg;
	MemoryContext context;

	SPI_connect();
	context = AllocSetContextCreate(CurrentMemoryContext, "Kafka rollup test",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	if (is_query(test->text))
		prepare_query(test);
	else
		prepare_rollup(test);
	test->task.rollup = test->rollup;
	test->task.userid = test->rollup->owner;
	test->task.has_circuit = false;
	test->task.known_keys = kafka_keys_create();
	make_halves(test);
	for (int half = 0; half < HALVES; half++)
		(void) kafka_apply_run(&test->task, test->halves[half],
							   test->positions);
	read_final(test);
	SPI_finish();
	return false;
}

/* ----------------------------------------------------------------
 * Dead letters
 * ----------------------------------------------------------------
 */

static void
append_member(StringInfo json, const char *name, const char *text)
{
	appendStringInfo(json, ", \"%s\": ", name);
	if (text == NULL)
		appendStringInfoString(json, "null");
	else
		escape_json(json, text);
}

/* A message's payload as text; bytes that are none as '\x..'. */
static char *
decode_payload(const KafkaBatchEntry *entry)
{
	char *text;

	if (entry->payload == NULL)
		return NULL;
	if (pg_verify_mbstr(PG_UTF8, entry->payload, (int) entry->payload_length,
						true))
	{
		text = pnstrdup(entry->payload, entry->payload_length);
		return pg_any_to_server(text, (int) entry->payload_length, PG_UTF8);
	}
	return DatumGetCString(
		DirectFunctionCall1(byteaout, PointerGetDatum(cstring_to_text_with_len(
										  entry->payload,
										  (int) entry->payload_length))));
}

static Datum
describe_dead_letter(const KafkaBatchEntry *entry)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(
		&json,
		"{\"dead_letter\": {\"stage\": \"%s\", \"partition\": %d, \"offset\": %lld",
		kafka_dead_letter_stage_name(entry->stage), entry->partition,
		(long long) entry->offset);
	append_member(&json, "sqlstate",
				  entry->sqlerrcode != 0 ? unpack_sql_state(entry->sqlerrcode)
										 : NULL);
	append_member(&json, "message", entry->description);
	append_member(&json, "value", decode_payload(entry));
	appendStringInfoString(&json, "}}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

Datum
kafka_test_rollup(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Test test = {.context = CurrentMemoryContext};
	ErrorData *error;
	bool isnull = false;
	Datum value;
	ListCell *cell;

	kafka_catalog_check_not_null(fcinfo, 0, "query");
	kafka_catalog_check_not_null(fcinfo, 1, "messages");
	kafka_rollup_check_writable("kafka.test_rollup()");
	test.text = text_to_cstring(PG_GETARG_TEXT_PP(0));
	test.messages = PG_GETARG_JSONB_P(1);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	error = kafka_guard_try(run_test, &test);
	if (error != NULL)
		ReThrowError(error);
	foreach(cell, test.rows)
	{
		value = JsonbPGetDatum((Jsonb *) lfirst(cell));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value,
							 &isnull);
	}
	for (int half = 0; half < HALVES; half++)
	{
		const KafkaBatch *batch = test.halves[half];

		for (int i = 0; i < batch->nentries; i++)
		{
			const KafkaBatchEntry *entry = &batch->entries[i];

			if (!kafka_batch_is_fault(entry))
				continue;
			value = describe_dead_letter(entry);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value,
								 &isnull);
		}
	}
	return (Datum) 0;
}
