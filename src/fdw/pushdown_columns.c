/*-------------------------------------------------------------------------
 *
 * pushdown_columns.c
 *		Which columns of a table can be bounded.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_columns.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fdw/fdw.h"
#include "utils/lsyscache.h"

/* The dimension of a role; false when there is none. */
static bool
dimension_of_role(const KafkaTableOptions *table, KafkaRole role,
				  KafkaDimension *dimension)
{
	switch (role)
	{
		case KAFKA_ROLE_PARTITION:
			*dimension = KAFKA_DIMENSION_PARTITION;
			return true;
		case KAFKA_ROLE_OFFSET:
			*dimension = KAFKA_DIMENSION_OFFSET;
			return true;
		case KAFKA_ROLE_TIMESTAMP:
			*dimension = KAFKA_DIMENSION_TIME;
			return true;
		case KAFKA_ROLE_KEY:
			*dimension = KAFKA_DIMENSION_KEY_HASH;
			return table->partitioner != 0;
		default:
			return false;
	}
}

KafkaPushdownColumns
kafka_pushdown_columns(Index relid, const KafkaTableOptions *table,
					   const KafkaColumnOptions *columns, TupleDesc tupdesc)
{
	KafkaPushdownColumns result = {.relid = relid,
								   .partitioner = table->partitioner};

	result.skewed = palloc(sizeof(KafkaSkewedColumn) * Max(tupdesc->natts, 1));
	for (int i = 0; i < tupdesc->natts; i++)
	{
		KafkaDimension dimension;
		Oid type;

		if (columns[i].dropped)
			continue;
		if (columns[i].max_skew_ms >= 0)
			result.skewed[result.nskewed++] =
				(KafkaSkewedColumn){i + 1, columns[i].max_skew_ms};
		if (!dimension_of_role(table, columns[i].role, &dimension))
			continue;
		type = TupleDescAttr(tupdesc, i)->atttypid;
		result.attnum[dimension] = i + 1;
		result.type[dimension] = getBaseType(type);
		if (dimension == KAFKA_DIMENSION_PARTITION ||
			dimension == KAFKA_DIMENSION_OFFSET)
			result.may_be_null[dimension] =
				table->on_error == KAFKA_ON_ERROR_NULL &&
				(result.type[dimension] != type || type == INT2OID);
	}
	return result;
}
