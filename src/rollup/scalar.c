/*-------------------------------------------------------------------------
 *
 * scalar.c
 *		Functions that the relations of rollups call for each row.
 *
 * kafka.key_hash makes 128 bits of values, to be kept and compared in their
 * place.  It must give the same for the same values for as long as the hashes
 * are kept, under any settings.  So it does not use the types' own hash
 * functions (that of bigint folds to 32 bits first, whatever the seed), and it
 * writes those types in a form of its own whose text depends on settings:
 * times and floats by their bits, numeric without trailing zeros, bytea by its
 * bytes.  Two values are the same here if they are written alike; a NULL is the
 * same as another.  But where all are NULL there is no hash: messages that have
 * no key at all are not copies of each other.
 *
 * IDENTIFICATION
 *		src/rollup/scalar.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "compat.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

KAFKA_SQL_FUNCTION(kafka_key_hash);
KAFKA_SQL_FUNCTION(kafka_require_finite);
KAFKA_SQL_FUNCTION(kafka_only_add);

/* The halves of a hash are those of one text with different seeds. */
#define SEED_HIGH UINT64CONST(0x6b61666b615f6864)
#define SEED_LOW UINT64CONST(0x9e3779b97f4a7c15)

static void
append_int64(StringInfo text, int64 value)
{
	uint64 bits = (uint64) value;

	for (int shift = 56; shift >= 0; shift -= 8)
		appendStringInfoCharMacro(text, (char) (bits >> shift));
}

static void
append_float(StringInfo text, float8 value)
{
	int64 bits;

	/* -0 equals 0, and all NaNs are one */
	if (value == 0)
		value = 0;
	else if (isnan(value))
		value = get_float8_nan();
	memcpy(&bits, &value, sizeof(bits));
	append_int64(text, bits);
}

static void
append_bytes(StringInfo text, const char *bytes, int length)
{
	append_int64(text, length);
	appendBinaryStringInfo(text, bytes, length);
}

/* Appends a value so that where it ends shows from what is before. */
static void
append_value(StringInfo text, Oid type, Datum value)
{
	Oid output;
	bool is_varlena;
	char *written;

	switch (getBaseType(type))
	{
		case INT2OID:
			append_int64(text, DatumGetInt16(value));
			return;
		case INT4OID:
		case DATEOID:
			append_int64(text, DatumGetInt32(value));
			return;
		case INT8OID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			append_int64(text, DatumGetInt64(value));
			return;
		case FLOAT4OID:
			append_float(text, DatumGetFloat4(value));
			return;
		case FLOAT8OID:
			append_float(text, DatumGetFloat8(value));
			return;
		case INTERVALOID:
		{
			Interval *interval = DatumGetIntervalP(value);

			append_int64(text, interval->month);
			append_int64(text, interval->day);
			append_int64(text, interval->time);
			return;
		}
		case TEXTOID:
		case VARCHAROID:
		case BYTEAOID:
		{
			struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

			append_bytes(text, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
			return;
		}
		case NUMERICOID:
			written = numeric_normalize(DatumGetNumeric(value));
			break;
		default:
			getTypeOutputInfo(type, &output, &is_varlena);
			written = OidOutputFunctionCall(output, value);
			break;
	}
	append_bytes(text, written, strlen(written));
	pfree(written);
}

Datum
kafka_key_hash(PG_FUNCTION_ARGS)
{
	StringInfoData text;
	pg_uuid_t *hash = palloc(sizeof(pg_uuid_t));
	bool has_value = false;

	/* called with VARIADIC, the array is the one value */
	initStringInfo(&text);
	for (int i = 0; i < PG_NARGS(); i++)
	{
		Oid type = get_fn_expr_argtype(fcinfo->flinfo, i);

		if (!OidIsValid(type))
			ereport(ERROR, (errcode(ERRCODE_INDETERMINATE_DATATYPE),
							errmsg("could not determine input data type")));
		appendStringInfoChar(&text, PG_ARGISNULL(i) ? 'n' : 'v');
		if (PG_ARGISNULL(i))
			continue;
		has_value = true;
		if (type == UNKNOWNOID)
			append_bytes(&text, PG_GETARG_CSTRING(i),
						 strlen(PG_GETARG_CSTRING(i)));
		else
			append_value(&text, type, PG_GETARG_DATUM(i));
	}
	if (!has_value)
		PG_RETURN_NULL();
	for (int half = 0; half < 2; half++)
	{
		uint64 bits =
			hash_bytes_extended((unsigned char *) text.data, text.len,
								half == 0 ? SEED_HIGH : SEED_LOW);

		for (int byte = 0; byte < 8; byte++)
			hash->data[half * 8 + byte] =
				(unsigned char) (bits >> (56 - byte * 8));
	}
	pfree(text.data);
	PG_RETURN_UUID_P(hash);
}

/*
 * For aggregates that cannot live with such values: tdigest loops without end
 * on a NaN.
 */
Datum
kafka_require_finite(PG_FUNCTION_ARGS)
{
	float8 value = PG_GETARG_FLOAT8(0);

	if (isnan(value) || isinf(value))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("value must be finite, not %s",
							   isnan(value) ? "NaN"
							   : value > 0  ? "Infinity"
											: "-Infinity")));
	PG_RETURN_FLOAT8(value);
}

/*
 * kafka.only_add(state, value): it is strict, so the first value is the state
 * without it, and this is about a second.
 */
Datum
kafka_only_add(PG_FUNCTION_ARGS)
{
	ereport(ERROR, (errcode(ERRCODE_CARDINALITY_VIOLATION),
					errmsg("kafka.only has found more than one value")));
	PG_RETURN_NULL();
}
