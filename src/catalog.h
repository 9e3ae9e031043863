/*-------------------------------------------------------------------------
 *
 * catalog.h
 *		The extension's own tables, and whose rights code runs with.
 *
 * The only place that switches users.  Nobody but the extension's owner has
 * rights on the tables of schema kafka: users see them through views that show
 * a role its own rows, and change them through functions, which check rights
 * and then run one of a fixed set of statements as the extension's owner.
 *
 * IDENTIFICATION
 *		src/catalog.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_CATALOG_H
#define KAFKA_CATALOG_H

#include "executor/spi.h"
#include "fmgr.h"

/*
 * Raises an error when an argument of one of the schema's functions is null, for
 * those to which a null is more likely a mistake than a reason to do nothing.
 */
extern void kafka_catalog_check_not_null(FunctionCallInfo fcinfo, int number,
										 const char *name);

/*
 * Runs one fixed statement on the extension's own tables, as the extension's
 * owner, with search_path pg_catalog, pg_temp.  SPI must be connected; results are
 * in SPI_tuptable, the number of rows is returned.  sql never holds anything
 * that a user gave: that comes in values.  types[i], values[i], nulls[i]
 * (NULL nulls: none is null) belong to $i+1.
 */
extern uint64 kafka_catalog_execute(const char *sql, int nargs,
									const Oid *types, const Datum *values,
									const bool *nulls);

/* The settings a rollup's code runs with: those of its creation. */
typedef struct KafkaSettings
{
	char *search_path;
	char *time_zone;
	char *date_style;
	char *interval_style;
} KafkaSettings;

/* The caller's settings now, palloc'd. */
extern KafkaSettings kafka_catalog_current_settings(void);

/*
 * Puts pg_catalog in front of the search_path, for statements that were deparsed
 * with its operators unqualified: a path may name it later than a schema in
 * which others can create one that hides them.  Undone by AtEOXact_GUC(false,
 * result), or by an error.
 */
extern int kafka_catalog_go_first(void);

/* Who ran before, to be restored. */
typedef struct KafkaUserSwitch
{
	Oid userid;
	int security_context;
	int guc_nest_level;
} KafkaUserSwitch;

/*
 * Becomes a role, in a security-restricted operation, with settings (NULL: only
 * a safe search_path).  Between this and kafka_catalog_restore_user no
 * transaction may start or end.  After an error nothing needs to be restored:
 * aborting the (sub)transaction does it, when the switch was made inside.
 */
extern void kafka_catalog_become(KafkaUserSwitch *saved, Oid userid,
								 const KafkaSettings *settings);
extern void kafka_catalog_restore_user(const KafkaUserSwitch *saved);

#endif /* KAFKA_CATALOG_H */
