/*-------------------------------------------------------------------------
 *
 * compat.h
 *		The only file that asks which PostgreSQL this is.
 *
 * IDENTIFICATION
 *		src/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_COMPAT_H
#define KAFKA_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "kafka_fdw needs PostgreSQL 15 or later"
#endif

/*
 * Declares a function that SQL calls.  Symbols are hidden unless marked, and
 * PG_FUNCTION_INFO_V1 marks the function itself only since 16.
 */
#define KAFKA_SQL_FUNCTION(name)                     \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(name)

/*
 * 16 has one function for the rights on all kinds of objects; here 15 needs
 * it for foreign servers only.
 */
#if PG_VERSION_NUM < 160000
#define object_aclcheck(classid, objectid, roleid, mode) \
	(AssertMacro((classid) == ForeignServerRelationId),  \
	 pg_foreign_server_aclcheck(objectid, roleid, mode))
#endif

/* Builds a range from its bounds, which must be in order. */
#if PG_VERSION_NUM < 160000
#define kafka_make_range(type, lower, upper) \
	make_range(type, lower, upper, false)
#else
#define kafka_make_range(type, lower, upper) \
	make_range(type, lower, upper, false, NULL)
#endif

/* What kind of word an abbreviation of a zone is, and its value or zone. */
#if PG_VERSION_NUM < 160000
#define kafka_decode_zone_abbreviation(lower, type, value, tz) \
	((void) (*(type) = DecodeTimezoneAbbrev(0, lower, value, tz)))
#else
#define kafka_decode_zone_abbreviation(lower, type, value, tz) \
	((void) DecodeTimezoneAbbrev(0, lower, type, value, tz,    \
								 &(DateTimeErrorExtra){0}))
#endif

/* When somebody called for ANALYZE, of a PgStat_StatTabEntry */
#if PG_VERSION_NUM < 160000
#define pgstat_last_analyze(entry) ((entry)->analyze_timestamp)
#else
#define pgstat_last_analyze(entry) ((entry)->last_analyze_time)
#endif

#endif /* KAFKA_COMPAT_H */
