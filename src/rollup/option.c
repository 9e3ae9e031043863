/*-------------------------------------------------------------------------
 *
 * option.c
 *		The keys of create_rollup's options.
 *
 * Options are a flat JSON object.  It is checked when it is given, and read
 * again at every run; so what was accepted once must be read the same way
 * whatever the session's settings are, which is why lengths of time are read
 * by option_value.c and not by the type interval.
 *
 * IDENTIFICATION
 *		src/rollup/option.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "option_value.h"
#include "rollup/rollup.h"
#include "utils/builtins.h"

#define MAX_DURATION_MS (INT64_C(36525) * 24 * 3600 * 1000) /* 100 years */
#define DEFAULT_RETRY_DELAY_MS (60 * 1000)
#define DEFAULT_MAX_TAIL 1000000
#define DAY_MS (INT64_C(24) * 3600 * 1000)
#define MIN_COMMIT_INTERVAL_MS 100

typedef enum RollupOption
{
	OPTION_RETRY_LIMIT,
	OPTION_RETRY_DELAY,
	OPTION_ERROR_LIMIT,
	OPTION_ON_LOSS,
	OPTION_UNIQUE_KEY,
	OPTION_UNIQUE_WITHIN,
	OPTION_FOLLOW,
	OPTION_COMMIT_INTERVAL,
	OPTION_MAX_TAIL,
	OPTION_RETENTION,
	OPTION_RUN_RETENTION,
	OPTION_DEAD_LETTER_RETENTION,
	OPTION_MIRROR_GROUP
} RollupOption;

/* By RollupOption. */
static const char *const option_names[] = {
	"retry_limit",  "retry_delay",   "error_limit",   "on_loss",
	"unique_key",   "unique_within", "follow",        "commit_interval",
	"max_tail",     "retention",     "run_retention", "dead_letter_retention",
	"mirror_group",
};

static RollupOption
find_option(const char *name)
{
	const char *nearest;
	int i;

	for (i = 0; i < lengthof(option_names); i++)
	{
		if (strcmp(option_names[i], name) == 0)
			return (RollupOption) i;
	}
	nearest = kafka_option_nearest(name, option_names, lengthof(option_names));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid rollup option \"%s\"", name),
			 nearest != NULL
				 ? errhint("Perhaps you meant the option \"%s\".", nearest)
				 : errhint("Valid options are: retry_limit, retry_delay, "
						   "error_limit, on_loss, unique_key, "
						   "unique_within, follow, commit_interval, max_tail, "
						   "retention, run_retention, dead_letter_retention, "
						   "mirror_group.")));
}

/* A scalar as it is written in SQL's texts of JSON; palloc'd. */
static char *
get_value_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(
				DirectFunctionCall1(numeric_out,
									NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return pstrdup("...");
	}
}

static void
report_value(RollupOption option, const JsonbValue *value, const char *detail,
			 const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value for rollup option \"%s\": \"%s\"",
						   option_names[option], get_value_text(value)),
					detail != NULL ? errdetail_internal("%s", detail) : 0,
					hint != NULL ? errhint("%s", hint) : 0));
}

static char *
take_text(RollupOption option, const JsonbValue *value)
{
	char *text;

	if (value->type != jbvString)
		report_value(option, value, "The value must be a JSON string.", NULL);
	text = pnstrdup(value->val.string.val, value->val.string.len);
	if (text[strspn(text, " \t\r\n")] == '\0')
		report_value(option, value, "The value must not be empty.", NULL);
	return text;
}

static int64
take_duration(RollupOption option, const JsonbValue *value, int64 min_ms)
{
	char *text = take_text(option, value);
	KafkaValueError error = {NULL, NULL};
	int64 duration_ms;

	if (!kafka_value_parse_interval(text, min_ms, MAX_DURATION_MS,
									&duration_ms, &error))
		report_value(option, value, error.detail, error.hint);
	return duration_ms;
}

/* A number as a double; false when the value is no number. */
static bool
get_number(const JsonbValue *value, double *number)
{
	if (value->type != jbvNumeric)
		return false;
	/* Out of a double's range gives infinity, which no limit admits. */
	*number = DatumGetFloat8(
		DirectFunctionCall1(numeric_float8_no_overflow,
							NumericGetDatum(value->val.numeric)));
	return true;
}

static int64
take_count(RollupOption option, const JsonbValue *value, int64 max,
		   const char *hint)
{
	double number;

	if (!get_number(value, &number) || number < 0 || number > (double) max ||
		number != (double) (int64) number)
		report_value(option, value,
					 "The value must be a whole number, 0 or more.", hint);
	return (int64) number;
}

static bool
take_boolean(RollupOption option, const JsonbValue *value)
{
	if (value->type != jbvBool)
		report_value(option, value, "The value must be true or false.", NULL);
	return value->val.boolean;
}

/* The options that say how a rollup is kept. */
static void
take_upkeep(KafkaRollupOptions *options, RollupOption option,
			const JsonbValue *value)
{
	switch (option)
	{
		case OPTION_FOLLOW:
			options->follow = take_boolean(option, value);
			break;
		case OPTION_COMMIT_INTERVAL:
			options->commit_interval_ms =
				take_duration(option, value, MIN_COMMIT_INTERVAL_MS);
			break;
		case OPTION_MAX_TAIL:
			options->max_tail =
				take_count(option, value, INT64_C(1000000000000),
						   "It counts messages; 0 forbids any.");
			break;
		case OPTION_RETENTION:
			options->retention_ms = take_duration(option, value, 1);
			break;
		case OPTION_RUN_RETENTION:
			options->run_retention_ms = take_duration(option, value, 1);
			break;
		case OPTION_DEAD_LETTER_RETENTION:
			options->dead_letter_retention_ms =
				take_duration(option, value, 1);
			break;
		default:
			Assert(option == OPTION_MIRROR_GROUP);
			options->mirror_group = take_text(option, value);
			break;
	}
}

static void
take_option(KafkaRollupOptions *options, RollupOption option,
			const JsonbValue *value)
{
	double number;
	char *text;

	switch (option)
	{
		case OPTION_RETRY_LIMIT:
			options->retry_limit = (int) take_count(option, value, INT_MAX,
													"0 turns retries off.");
			break;
		case OPTION_RETRY_DELAY:
			options->retry_delay_ms = take_duration(option, value, 0);
			break;
		case OPTION_ERROR_LIMIT:
			if (!get_number(value, &number) || number < 0 || number > 1)
				report_value(option, value,
							 "The value must be a number from 0 to 1: a share "
							 "of a batch's messages.",
							 "1 turns the limit off.");
			options->error_limit = number;
			break;
		case OPTION_ON_LOSS:
			text = take_text(option, value);
			if (strcmp(text, "halt") != 0 && strcmp(text, "continue") != 0)
				report_value(option, value, NULL,
							 "Valid values are: halt, continue.");
			options->continue_on_loss = strcmp(text, "continue") == 0;
			break;
		case OPTION_UNIQUE_KEY:
			options->unique_key = take_text(option, value);
			break;
		case OPTION_UNIQUE_WITHIN:
			options->unique_within_ms = take_duration(option, value, 1);
			break;
		default:
			take_upkeep(options, option, value);
			break;
	}
}

KafkaRollupOptions
kafka_rollup_read_options(const Jsonb *jsonb)
{
	KafkaRollupOptions options = {
		.retry_limit = 3,
		.retry_delay_ms = DEFAULT_RETRY_DELAY_MS,
		.error_limit = 0.5,
		.max_tail = DEFAULT_MAX_TAIL,
		.run_retention_ms = 7 * DAY_MS,
		.dead_letter_retention_ms = 30 * DAY_MS,
	};
	Jsonb *object = unconstify(Jsonb *, jsonb); /* iterators take no const */
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("rollup options must be a JSON object"),
						errhint("For example: '{\"retry_limit\": 5, "
								"\"on_loss\": \"continue\"}'.")));

	iterator = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		RollupOption option;

		if (token != WJB_KEY)
			continue;
		option =
			find_option(pnstrdup(value.val.string.val, value.val.string.len));
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type != jbvNull) /* as if it were not there */
			take_option(&options, option, &value);
	}

	if ((options.unique_key != NULL) != (options.unique_within_ms > 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rollup options \"unique_key\" and \"unique_within\" "
						"go together"),
				 errdetail("A key is remembered for the time that "
						   "\"unique_within\" says.")));
	return options;
}
