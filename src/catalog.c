/*-------------------------------------------------------------------------
 *
 * catalog.c
 *		The extension's own tables, and whose rights code runs with.
 *
 * A user switch here changes three things: the current user, the security
 * context, and the settings, on a nest level of their own.  All three belong
 * to the (sub)transaction: its abort puts user and security context back to
 * what they were when it began (AbortTransaction, AbortSubTransaction), and
 * ends the nest levels of settings that were opened in it.  So an error
 * between switching and restoring needs no PG_TRY here, only a
 * (sub)transaction that began before the switch.  The same code is the reason
 * why none may end in between: the next one would begin as the wrong user.
 *
 * IDENTIFICATION
 *		src/catalog.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/*
 * Temporary tables come last when they are not named, which would let whoever
 * owns the session slip one in before the catalog.
 */
#define SAFE_SEARCH_PATH "pg_catalog, pg_temp"

/*
 * A plan kept for a statement.  Callers pass literals, so their address finds
 * the plan; text and types are compared besides, so that a caller who builds a
 * statement, and happens to get an address again, does not run another's.
 */
typedef struct StatementPlan
{
	const char *sql; /* hash key */
	char *text;      /* NULL where nothing was prepared yet */
	int nargs;
	Oid *types;
	SPIPlanPtr plan;
} StatementPlan;

static HTAB *statement_plans = NULL;

/* A setting, and the value that rollups run with. */
typedef struct FixedSetting
{
	const char *name;
	const char *value;
} FixedSetting;

/*
 * Settings that any session may change, that change what an expression makes
 * of the same values, and that a rollup does not remember: they are always
 * the server's built-in defaults, whoever calls.  xmloption,
 * timezone_abbreviations, backslash_quote and standard_conforming_strings
 * decide which texts are read, and how.
 *
 * Not here: what only decides how a query is planned; transform_null_equals,
 * which acts before a view is stored; row_security, where the wrong value is
 * an error and no other result; lc_monetary, lc_numeric, lc_time and
 * default_text_search_config, whose defaults differ from database to database.
 */
static const FixedSetting fixed_settings[] = {
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"xmlbinary", "base64"},
	{"xmloption", "content"},
	{"array_nulls", "on"},
	{"timezone_abbreviations", "Default"},
	{"backslash_quote", "safe_encoding"},
	{"standard_conforming_strings", "on"},
};

/*
 * The owner of the extension.  Looked up each time, an index scan of some
 * microseconds: nothing announces a change of pg_extension to a cache, and
 * REASSIGN OWNED changes the owner.
 */
static Oid
get_extension_owner(void)
{
	Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
	Oid owner = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("kafka_fdw"));
	scan =
		systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", "kafka_fdw")));
	return owner;
}

static void
set_locally(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* Sets what is not so already: comparing is cheaper than setting. */
static void
set_fixed_settings(void)
{
	int i;

	for (i = 0; i < lengthof(fixed_settings); i++)
	{
		const char *value =
			GetConfigOption(fixed_settings[i].name, false, false);

		if (value == NULL || strcmp(value, fixed_settings[i].value) != 0)
			set_locally(fixed_settings[i].name, fixed_settings[i].value);
	}
}

int
kafka_catalog_go_first(void)
{
	char *path = psprintf("pg_catalog, %s", namespace_search_path);
	int level = NewGUCNestLevel();

	/* An empty path is an empty name, or nothing at all. */
	if (namespace_search_path[strspn(namespace_search_path, " ")] == '\0')
		path = "pg_catalog";
	set_locally("search_path", path);
	return level;
}

void
kafka_catalog_become(KafkaUserSwitch *saved, Oid userid,
					 const KafkaSettings *settings)
{
	GetUserIdAndSecContext(&saved->userid, &saved->security_context);
	SetUserIdAndSecContext(userid, saved->security_context |
									   SECURITY_LOCAL_USERID_CHANGE |
									   SECURITY_RESTRICTED_OPERATION);
	saved->guc_nest_level = NewGUCNestLevel();

	if (settings == NULL)
	{
		set_locally("search_path", SAFE_SEARCH_PATH);
		return;
	}
	/* "$user" in a saved path means the new user, as it is one already. */
	set_locally("search_path", settings->search_path);
	set_locally("TimeZone", settings->time_zone);
	set_locally("DateStyle", settings->date_style);
	set_locally("IntervalStyle", settings->interval_style);
	set_fixed_settings();
}

void
kafka_catalog_restore_user(const KafkaUserSwitch *saved)
{
	AtEOXact_GUC(false, saved->guc_nest_level);
	SetUserIdAndSecContext(saved->userid, saved->security_context);
}

/* A setting's value as SET takes it; palloc'd. */
static char *
get_setting(const char *name)
{
	return pstrdup(GetConfigOption(name, false, false));
}

KafkaSettings
kafka_catalog_current_settings(void)
{
	KafkaSettings settings;

	settings.search_path = get_setting("search_path");
	settings.time_zone = get_setting("TimeZone");
	settings.date_style = get_setting("DateStyle");
	settings.interval_style = get_setting("IntervalStyle");
	return settings;
}

static StatementPlan *
find_statement_plan(const char *sql)
{
	StatementPlan *entry;
	bool found;

	if (statement_plans == NULL)
	{
		HASHCTL control;

		control.keysize = sizeof(const char *);
		control.entrysize = sizeof(StatementPlan);
		statement_plans = hash_create("kafka_fdw statements", 64, &control,
									  HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(statement_plans, &sql, HASH_ENTER, &found);
	if (!found)
	{
		entry->text = NULL;
		entry->types = NULL;
		entry->plan = NULL;
	}
	return entry;
}

/* Forgets what an entry holds; it is then like a new one. */
static void
clear_statement_plan(StatementPlan *entry)
{
	if (entry->plan != NULL)
		SPI_freeplan(entry->plan);
	if (entry->text != NULL)
		pfree(entry->text);
	if (entry->types != NULL)
		pfree(entry->types);
	entry->plan = NULL;
	entry->text = NULL;
	entry->types = NULL;
}

/*
 * The plan of a statement, kept for the rest of the session.  PostgreSQL makes
 * it anew where a table, or the search path, has changed.
 */
static SPIPlanPtr
get_plan(const char *sql, int nargs, const Oid *types)
{
	StatementPlan *entry = find_statement_plan(sql);
	SPIPlanPtr plan;

	if (entry->plan != NULL && strcmp(entry->text, sql) == 0 &&
		entry->nargs == nargs &&
		(nargs == 0 || memcmp(entry->types, types, sizeof(Oid) * nargs) == 0))
		return entry->plan;

	clear_statement_plan(entry);
	plan = SPI_prepare(sql, nargs, unconstify(Oid *, types));
	if (plan == NULL) /* cannot happen: a statement of ours that SPI refuses */
		elog(ERROR, "could not prepare \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));

	entry->text = MemoryContextStrdup(TopMemoryContext, sql);
	entry->nargs = nargs;
	if (nargs > 0)
	{
		entry->types =
			MemoryContextAlloc(TopMemoryContext, sizeof(Oid) * nargs);
		memcpy(entry->types, types, sizeof(Oid) * nargs);
	}
	/* The entry is whole before it owns the plan: SPI_keepplan cannot fail. */
	SPI_keepplan(plan);
	entry->plan = plan;
	return plan;
}

uint64
kafka_catalog_execute(const char *sql, int nargs, const Oid *types,
					  const Datum *values, const bool *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	char *null_flags = NULL;
	KafkaUserSwitch saved;
	uint64 processed;
	SPIPlanPtr plan;
	int result;
	int i;

	if (nulls != NULL)
	{
		null_flags = palloc(nargs + 1);
		for (i = 0; i < nargs; i++)
			null_flags[i] = nulls[i] ? 'n' : ' ';
		null_flags[nargs] = '\0';
	}

	kafka_catalog_become(&saved, get_extension_owner(), NULL);
	plan = get_plan(sql, nargs, types);
	result = SPI_execute_plan(plan, unconstify(Datum *, values), null_flags,
							  false, 0);
	processed = SPI_processed;
	kafka_catalog_restore_user(&saved);

	/* SPI leaves its own context, where callers do not expect to allocate. */
	MemoryContextSwitchTo(context);

	/* Errors of the statement were raised; misuse of SPI cannot happen. */
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql,
			 SPI_result_code_string(result));
	if (null_flags != NULL)
		pfree(null_flags);
	return processed;
}

void
kafka_catalog_check_not_null(FunctionCallInfo fcinfo, int number,
							 const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("argument \"%s\" must not be null", name)));
}
