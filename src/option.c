/*-------------------------------------------------------------------------
 *
 * option.c
 *		The options of servers, user mappings, foreign tables and columns.
 *
 * The validator, and the reading of a list of options that it shares with
 * option_read.c.  Both walk the rows of option_table.c and end in the same
 * checks of how options fit together, so what the validator let pass the
 * readers can read, and a value that the limits of a later version no longer
 * allow is an error at first use.
 *
 * What only the types of columns and the table's format can tell is checked
 * by kafka_option_read_columns, since a validator sees neither.
 *
 * No value of an option marked KAFKA_SECRET is ever part of a message.
 *
 * IDENTIFICATION
 *		src/option.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "compat.h"
#include "option_table.h"

/* Options of one object that cannot be given together. */
static const char *const exclusive_options[][2] = {
	{"topic", "topic_pattern"},
	{"ssl_ca_pem", "ssl_ca_location"},
	{"ssl_certificate_pem", "ssl_certificate_location"},
	{"ssl_key_pem", "ssl_key_location"},
};

static const char *const place_names[] = {"foreign data wrapper", "server",
										  "user mapping", "foreign table",
										  "column"};

/* Room for the options of any one object. */
typedef union KafkaAnyOptions
{
	KafkaConnectionOptions connection;
	KafkaTableOptions table;
	KafkaColumnOptions column;
} KafkaAnyOptions;

KAFKA_SQL_FUNCTION(kafka_fdw_validator);

static const KafkaOption *
find_option(KafkaOptionPlace place, const char *name)
{
	int i;

	for (i = 0; i < kafka_options_count; i++)
	{
		if (kafka_options[i].place == place &&
			strcmp(kafka_options[i].name, name) == 0)
			return &kafka_options[i];
	}
	return NULL;
}

DefElem *
kafka_option_find_given(List *given, const char *name)
{
	ListCell *cell;

	foreach(cell, given)
	{
		DefElem *def = lfirst_node(DefElem, cell);

		if (strcmp(def->defname, name) == 0)
			return def;
	}
	return NULL;
}

const char *
kafka_option_nearest(const char *name, const char *const *candidates,
					 int count)
{
	int length = strlen(name);
	int best_distance = length / 2 + 1;
	const char *best = NULL;
	int i;

	/* The distance takes time and memory in the product of both lengths. */
	if (length == 0 || length > 255)
		return NULL;

	for (i = 0; i < count; i++)
	{
		int distance;

		distance = varstr_levenshtein_less_equal(name, length, candidates[i],
												 strlen(candidates[i]), 1, 1,
												 1, best_distance - 1, true);
		if (distance < best_distance)
		{
			best_distance = distance;
			best = candidates[i];
			if (distance == 0)
				break;
		}
	}
	return best;
}

/* What to tell somebody who gave an option that the place does not have. */
static char *
make_unknown_option_hint(KafkaOptionPlace place, const char *name)
{
	const char **names = palloc(sizeof(char *) * kafka_options_count);
	int nnames = 0;
	const char *nearest;
	StringInfoData list;
	int i;

	for (i = 0; i < kafka_options_count; i++)
	{
		const KafkaOption *option = &kafka_options[i];

		if (strcmp(option->name, name) == 0)
			return psprintf("It is an option of %ss.",
							place_names[option->place]);
		if (option->place == place && option->type != KAFKA_TYPE_IGNORED)
			names[nnames++] = option->name;
	}
	if (nnames == 0)
		return psprintf("There are no options of a %s.", place_names[place]);

	nearest = kafka_option_nearest(name, names, nnames);
	if (nearest != NULL)
		return psprintf("Perhaps you meant the option \"%s\".", nearest);

	initStringInfo(&list);
	for (i = 0; i < nnames; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", names[i]);
	return psprintf("Valid options of a %s are: %s.", place_names[place],
					list.data);
}

static void
report_invalid_value(const KafkaOption *option, const char *value,
					 const KafkaValueError *error)
{
	const char *hint = error->hint;

	if (hint == NULL && error->detail == NULL)
		hint = option->help;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 (option->flags & KAFKA_SECRET) != 0
				 ? errmsg("invalid value for option \"%s\"", option->name)
				 : errmsg("invalid value for option \"%s\": \"%s\"",
						  option->name, value),
			 error->detail != NULL ? errdetail_internal("%s", error->detail)
								   : 0,
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* True when value is a boolean; *result is that. */
static bool
read_bool(const char *value, bool *result, KafkaValueError *error)
{
	if (parse_bool(value, result))
		return true;

	error->hint = "It is a boolean, such as true or false.";
	return false;
}

static bool
read_choice(const KafkaOption *option, const char *value, void *member,
			KafkaValueError *error)
{
	const KafkaChoice *choice;

	choice = kafka_value_parse_choice(value, option->choices, error);
	if (choice == NULL)
		return false;

	if (option->type == KAFKA_TYPE_CHOICE)
		*(int *) member = choice->value;
	else if (option->type == KAFKA_TYPE_CHOICE_BOOL)
		*(bool *) member = choice->value != 0;
	else
		*(char **) member = pstrdup(choice->name);
	return true;
}

/* Reads the text of the types that end in a bool. */
static bool
read_switch(const KafkaOption *option, const char *value, void *member,
			KafkaValueError *error)
{
	bool is_true;

	if (!read_bool(value, &is_true, error))
		return false;

	if (option->type == KAFKA_TYPE_TRUST)
		*(int *) member = is_true ? KAFKA_TRUST_YES : KAFKA_TRUST_NO;
	else if (option->type == KAFKA_TYPE_ROLE)
	{
		KafkaRole *role = member;

		if (is_true && *role != KAFKA_ROLE_PAYLOAD)
			ereport(
				ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("options \"%s\" and \"%s\" cannot be used together",
						kafka_option_role_name(*role), option->name),
				 errhint("A column holds one thing only.")));
		if (is_true)
			*role = option->role;
	}
	else if (option->member != KAFKA_NO_MEMBER)
		*(bool *) member = is_true;
	return true;
}

/* Reads the text of the types that end in a number. */
static bool
read_number(const KafkaOption *option, const char *value, void *member,
			KafkaValueError *error)
{
	int64 number;
	bool valid;

	if (option->type == KAFKA_TYPE_DURATION)
		valid = kafka_value_parse_duration(value, option->min, option->max,
										   &number, error);
	else if (option->type == KAFKA_TYPE_INTERVAL)
		valid = kafka_value_parse_interval(value, option->min, option->max,
										   &number, error);
	else
		valid = kafka_value_parse_size(value, option->min, option->max,
									   &number, error);
	if (!valid)
		return false;

	if (option->type == KAFKA_TYPE_DURATION)
		*(int *) member = (int) number;
	else
		*(int64 *) member = number;
	return true;
}

/* Reads one option's text into its member of target, the place's struct. */
static void
read_value(const KafkaOption *option, const char *value, void *target)
{
	void *member = (char *) target + option->member;
	KafkaTableOptions *table = target; /* only where the place is a table */
	KafkaValueError error = {NULL, NULL};
	bool valid = true;

	switch (option->type)
	{
		case KAFKA_TYPE_IGNORED:
			break;
		case KAFKA_TYPE_TEXT:
			valid =
				value[0] != '\0' || (option->flags & KAFKA_MAY_BE_EMPTY) != 0;
			*(char **) member = pstrdup(value);
			break;
		case KAFKA_TYPE_BOOL:
		case KAFKA_TYPE_TRUST:
		case KAFKA_TYPE_ROLE:
			valid = read_switch(option, value, member, &error);
			break;
		case KAFKA_TYPE_CHOICE:
		case KAFKA_TYPE_CHOICE_BOOL:
		case KAFKA_TYPE_CHOICE_NAME:
			valid = read_choice(option, value, member, &error);
			break;
		case KAFKA_TYPE_DURATION:
		case KAFKA_TYPE_INTERVAL:
		case KAFKA_TYPE_SIZE:
			valid = read_number(option, value, member, &error);
			break;
		case KAFKA_TYPE_CHARACTER:
			valid = kafka_value_parse_character(value, member, &error);
			break;
		case KAFKA_TYPE_BROKERS:
			valid = kafka_value_parse_brokers(value, member, &error);
			break;
		case KAFKA_TYPE_TOPICS:
			valid = kafka_value_parse_topics(value, &table->topics,
											 &table->ntopics, &error);
			break;
		case KAFKA_TYPE_REGEX:
			valid = value[0] != '\0' && kafka_value_check_regex(value, &error);
			*(char **) member = pstrdup(value);
			break;
		case KAFKA_TYPE_PARTITIONS:
			valid = kafka_value_parse_partitions(value, &table->partitions,
												 &table->npartitions, &error);
			break;
	}

	if (!valid)
		report_invalid_value(option, value, &error);
}

/* Raises an error where two given options exclude each other. */
static void
check_exclusive(List *given)
{
	int i;

	for (i = 0; i < (int) lengthof(exclusive_options); i++)
	{
		const char *first = exclusive_options[i][0];
		const char *second = exclusive_options[i][1];

		if (kafka_option_find_given(given, first) != NULL &&
			kafka_option_find_given(given, second) != NULL)
			ereport(
				ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"%s\" and \"%s\" cannot be used together",
						first, second)));
	}
}

void
kafka_option_check_brokers(const char *brokers)
{
	char *forbidden;

	forbidden =
		kafka_value_find_forbidden_broker(brokers, kafka_allowed_brokers);
	if (forbidden != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to connect to broker \"%s\"",
						forbidden),
				 errdetail("The setting \"kafka_fdw.allowed_brokers\" does "
						   "not list it.")));
}

static void
check_server(const KafkaConnectionOptions *connection)
{
	bool uses_sasl;

	uses_sasl =
		connection->security_protocol == KAFKA_SECURITY_SASL_PLAINTEXT ||
		connection->security_protocol == KAFKA_SECURITY_SASL_SSL;
	if (uses_sasl && connection->sasl_mechanism == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"sasl_mechanism\" is required with this "
						"\"security_protocol\""),
				 errhint("Valid values are: PLAIN, SCRAM-SHA-256, "
						 "SCRAM-SHA-512.")));

	/* Who names a mechanism expects a password to be asked for. */
	if (!uses_sasl && connection->sasl_mechanism != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"sasl_mechanism\" has no effect with this "
						"\"security_protocol\""),
				 errhint("Set \"security_protocol\" to \"sasl_ssl\" or "
						 "\"sasl_plaintext\".")));

	kafka_option_check_brokers(connection->brokers);
}

/* The rules that COPY has for its CSV options. */
static void
check_csv_dialect(const KafkaCsvDialect *csv)
{
	if (csv->delimiter == csv->quote)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("options \"delimiter\" and \"quote\" must be "
							   "different")));
	if (strpbrk(csv->null_text, "\r\n") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"null\" cannot contain newline or carriage "
						"return")));
	if (strchr(csv->null_text, csv->delimiter) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"null\" cannot contain the delimiter")));
	if (strchr(csv->null_text, csv->quote) != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"null\" cannot contain the quote "
							   "character")));
}

/*
 * Settles what "on_error" and adjust/kafka_fdw's "ignore_junk" say together.
 * Without either the table's columns decide, see kafka_option_read_columns.
 */
static void
settle_on_error(List *given, KafkaTableOptions *table)
{
	DefElem *junk = kafka_option_find_given(given, "ignore_junk");
	bool ignore_junk;

	table->on_error_given = kafka_option_find_given(given, "on_error") != NULL;
	if (junk == NULL)
		return;

	ignore_junk = defGetBoolean(junk);
	if (table->on_error_given &&
		ignore_junk != (table->on_error == KAFKA_ON_ERROR_NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"ignore_junk\" and \"on_error\" contradict "
						"each other"),
				 errhint("Setting \"ignore_junk\" to true is the same as "
						 "setting \"on_error\" to \"null\".")));
	if (ignore_junk)
	{
		table->on_error = KAFKA_ON_ERROR_NULL;
		table->on_error_given = true;
	}
}

static void
finish_table(List *given, KafkaTableOptions *table)
{
	ListCell *cell;

	if (table->topics == NULL && table->topic_pattern == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg(
					 "either \"topic\" or \"topic_pattern\" is required for "
					 "kafka_fdw foreign tables")));

	settle_on_error(given, table);

	table->disorder_declared =
		kafka_option_find_given(given, "timestamp_max_lag") != NULL ||
		kafka_option_find_given(given, "timestamp_max_lead") != NULL;

	if (kafka_option_find_given(given, "escape") == NULL)
		table->csv.escape = table->csv.quote;
	table->csv.null_length = strlen(table->csv.null_text);

	if (table->format == KAFKA_FORMAT_CSV)
	{
		check_csv_dialect(&table->csv);
		return;
	}
	foreach(cell, given)
	{
		const char *name = lfirst_node(DefElem, cell)->defname;

		if ((find_option(KAFKA_ON_TABLE, name)->flags & KAFKA_CSV_ONLY) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" is valid only with format \"csv\"",
							name)));
	}
}

/* Options that say where a field of the message is mean nothing for a role. */
static void
check_column(List *given, const KafkaColumnOptions *column)
{
	static const char *const payload_only[] = {"json", "from", "time_format"};
	int i;

	if (column->role == KAFKA_ROLE_PAYLOAD)
		return;

	for (i = 0; i < (int) lengthof(payload_only); i++)
	{
		if (kafka_option_find_given(given, payload_only[i]) != NULL)
			ereport(
				ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("options \"%s\" and \"%s\" cannot be used together",
						kafka_option_role_name(column->role), payload_only[i]),
				 errhint("Option \"%s\" is for columns that hold a field "
						 "of the message.",
						 payload_only[i])));
	}
}

void
kafka_option_read_list(KafkaOptionPlace place, List *given, void *target)
{
	ListCell *cell;
	int i;

	for (i = 0; i < kafka_options_count; i++)
	{
		if (kafka_options[i].place == place &&
			kafka_options[i].initial != NULL)
			read_value(&kafka_options[i], kafka_options[i].initial, target);
	}

	foreach(cell, given)
	{
		DefElem *def = lfirst_node(DefElem, cell);
		const KafkaOption *option = find_option(place, def->defname);

		if (option == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", def->defname),
					 errhint("%s",
							 make_unknown_option_hint(place, def->defname))));
		read_value(option, defGetString(def), target);
	}

	for (i = 0; i < kafka_options_count; i++)
	{
		if (kafka_options[i].place == place &&
			(kafka_options[i].flags & KAFKA_REQUIRED) != 0 &&
			kafka_option_find_given(given, kafka_options[i].name) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
					 errmsg("option \"%s\" is required for kafka_fdw %ss",
							kafka_options[i].name, place_names[place]),
					 errhint("%s", kafka_options[i].help)));
	}
	check_exclusive(given);

	if (place == KAFKA_ON_SERVER)
		check_server(target);
	else if (place == KAFKA_ON_TABLE)
		finish_table(given, target);
	else if (place == KAFKA_ON_COLUMN)
		check_column(given, target);
}

/*
 * Raises an error where the current user may not set one of the options.
 *
 * A validator sees all options an object is to have, not only those a command
 * changes.  So somebody without the right cannot alter an object on which
 * somebody with the right has set such an option, other than by dropping it;
 * file_fdw and postgres_fdw have it so too, and it is as well: with another
 * "brokers" the same key file would speak to another broker.
 */
static void
check_rights(KafkaOptionPlace place, List *given)
{
	ListCell *cell;

	foreach(cell, given)
	{
		DefElem *def = lfirst_node(DefElem, cell);
		const KafkaOption *option = find_option(place, def->defname);

		if ((option->flags & KAFKA_SERVER_FILE) != 0 &&
			!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to set the \"%s\" option of a "
							"kafka_fdw %s",
							option->name, place_names[place]),
					 errdetail("Only roles with privileges of the "
							   "\"pg_read_server_files\" role may set this "
							   "option.")));
		if ((option->flags & KAFKA_TRUE_ONLY) != 0 && !defGetBoolean(def) &&
			!superuser())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to set the \"%s\" option of a "
							"kafka_fdw %s to false",
							option->name, place_names[place]),
					 errdetail("Only superusers may set it to false.")));
	}
}

/*
 * With PLAIN the password itself goes over the wire, so without TLS whoever
 * listens has it.  That is for a superuser to decide, once, for the server.
 */
static void
check_plain_password(const KafkaConnectionOptions *connection)
{
	if (connection->security_protocol == KAFKA_SECURITY_SASL_PLAINTEXT &&
		strcmp(connection->sasl_mechanism, "PLAIN") == 0 && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to send passwords unencrypted"),
				 errdetail("Only superusers may combine \"security_protocol\" "
						   "\"sasl_plaintext\" with \"sasl_mechanism\" "
						   "\"PLAIN\"."),
				 errhint("Use \"sasl_ssl\", or one of the SCRAM "
						 "mechanisms.")));
}

/*
 * kafka_fdw_validator(text[], oid) returns void
 *
 * Checks the options of a foreign data wrapper, server, user mapping, foreign
 * table or column.  Never connects: an unreachable broker must not keep
 * anybody from defining a server.
 */
Datum
kafka_fdw_validator(PG_FUNCTION_ARGS)
{
	List *given = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid catalog = PG_GETARG_OID(1);
	KafkaOptionPlace place = KAFKA_ON_NOTHING;
	KafkaAnyOptions options;

	if (catalog == ForeignServerRelationId)
		place = KAFKA_ON_SERVER;
	else if (catalog == UserMappingRelationId)
		place = KAFKA_ON_USER_MAPPING;
	else if (catalog == ForeignTableRelationId)
		place = KAFKA_ON_TABLE;
	else if (catalog == AttributeRelationId)
		place = KAFKA_ON_COLUMN;

	memset(&options, 0, sizeof(options));
	kafka_option_read_list(place, given, &options);
	check_rights(place, given);
	if (place == KAFKA_ON_SERVER)
		check_plain_password(&options.connection);

	PG_RETURN_VOID();
}

const char *
kafka_option_role_name(KafkaRole role)
{
	int i;

	for (i = 0; i < kafka_options_count; i++)
	{
		if (kafka_options[i].type == KAFKA_TYPE_ROLE &&
			kafka_options[i].role == role)
			return kafka_options[i].name;
	}
	return "payload";
}
