/*-------------------------------------------------------------------------
 *
 * pushdown_form.c
 *		Which expressions are forms: columns that can be bounded, and what
 *		functions and operators make of them.
 *
 * The functions that are understood stand in one table, with the steps they
 * are made of.  What cannot be expressed in steps that get no smaller (or no
 * larger) when their argument grows has no place in it; every function in it
 * is strict, so that a form is NULL where its column or an argument is.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_form.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fdw/pushdown_node.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

/* From this typmod on a rounded time has all of its milliseconds. */
#define MILLISECOND_PRECISION 3

#define MAX_RULE_STEPS 3
#define MAX_RULE_ARGS 3

/* No argument: the session's zone. */
#define SESSION -1

typedef struct FormRule
{
	Oid function;
	int column; /* which argument is the form */
	Oid result;
	bool is_of_epoch; /* only where the first argument is 'epoch' */
	int nsteps;
	struct
	{
		KafkaStepKind kind;
		int args[2]; /* numbers of arguments; -1 for none */
	} steps[MAX_RULE_STEPS];
} FormRule;

/* A rule without steps, with one, two and three. */
#define NO_STEP(function, column, result)   \
	{                                       \
		function, column, result, false, 0, \
		{                                   \
			{                               \
				0                           \
			}                               \
		}                                   \
	}
#define STEP1(function, column, result, kind, arg0, arg1) \
	{                                                     \
		function, column, result, false, 1,               \
		{                                                 \
			{                                             \
				kind,                                     \
				{                                         \
					arg0, arg1                            \
				}                                         \
			}                                             \
		}                                                 \
	}
#define OF_EPOCH(function, result, nsteps) \
	{                                      \
		function, 1, result, true, nsteps, \
		{                                  \
			{                              \
				KAFKA_STEP_EPOCH,          \
				{                          \
					-1, -1                 \
				}                          \
			}                              \
		}                                  \
	}

static const FormRule rules[] = {
	/* date_trunc */
	{F_DATE_TRUNC_TEXT_TIMESTAMPTZ,
	 1,
	 TIMESTAMPTZOID,
	 false,
	 3,
	 {{KAFKA_STEP_AT_ZONE, {SESSION, -1}},
	  {KAFKA_STEP_TRUNC, {0, -1}},
	  {KAFKA_STEP_FROM_ZONE, {SESSION, -1}}}},
	{F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT,
	 1,
	 TIMESTAMPTZOID,
	 false,
	 3,
	 {{KAFKA_STEP_AT_ZONE, {2, -1}},
	  {KAFKA_STEP_TRUNC, {0, -1}},
	  {KAFKA_STEP_FROM_ZONE, {2, -1}}}},
	STEP1(F_DATE_TRUNC_TEXT_TIMESTAMP, 1, TIMESTAMPOID, KAFKA_STEP_TRUNC, 0,
		  -1),

	/* date_bin */
	STEP1(F_DATE_BIN_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ, 1, TIMESTAMPTZOID,
		  KAFKA_STEP_BIN, 0, 2),
	STEP1(F_DATE_BIN_INTERVAL_TIMESTAMP_TIMESTAMP, 1, TIMESTAMPOID,
		  KAFKA_STEP_BIN, 0, 2),

	/* AT TIME ZONE */
	STEP1(F_TIMEZONE_TEXT_TIMESTAMPTZ, 1, TIMESTAMPOID, KAFKA_STEP_AT_ZONE, 0,
		  -1),
	STEP1(F_TIMEZONE_TEXT_TIMESTAMP, 1, TIMESTAMPTZOID, KAFKA_STEP_FROM_ZONE,
		  0, -1),
	STEP1(F_TIMEZONE_INTERVAL_TIMESTAMPTZ, 1, TIMESTAMPOID,
		  KAFKA_STEP_AT_OFFSET, 0, -1),
	STEP1(F_TIMEZONE_INTERVAL_TIMESTAMP, 1, TIMESTAMPTZOID,
		  KAFKA_STEP_FROM_OFFSET, 0, -1),

	/* casts */
	STEP1(F_TIMESTAMP_TIMESTAMPTZ, 0, TIMESTAMPOID, KAFKA_STEP_AT_ZONE,
		  SESSION, -1),
	STEP1(F_TIMESTAMPTZ_TIMESTAMP, 0, TIMESTAMPTZOID, KAFKA_STEP_FROM_ZONE,
		  SESSION, -1),
	{F_DATE_TIMESTAMPTZ,
	 0,
	 DATEOID,
	 false,
	 2,
	 {{KAFKA_STEP_AT_ZONE, {SESSION, -1}}, {KAFKA_STEP_DAY, {-1, -1}}}},
	STEP1(F_DATE_TIMESTAMP, 0, DATEOID, KAFKA_STEP_DAY, -1, -1),
	NO_STEP(F_TIMESTAMP_DATE, 0, TIMESTAMPOID),
	STEP1(F_TIMESTAMPTZ_DATE, 0, TIMESTAMPTZOID, KAFKA_STEP_FROM_ZONE, SESSION,
		  -1),
	STEP1(F_TIMESTAMPTZ_TIMESTAMPTZ_INT4, 0, TIMESTAMPTZOID, KAFKA_STEP_ROUND,
		  1, -1),
	STEP1(F_TIMESTAMP_TIMESTAMP_INT4, 0, TIMESTAMPOID, KAFKA_STEP_ROUND, 1,
		  -1),

	/* plus and minus */
	STEP1(F_TIMESTAMPTZ_PL_INTERVAL, 0, TIMESTAMPTZOID, KAFKA_STEP_ADD_ZONED,
		  1, -1),
	STEP1(F_TIMESTAMPTZ_MI_INTERVAL, 0, TIMESTAMPTZOID,
		  KAFKA_STEP_SUBTRACT_ZONED, 1, -1),
	STEP1(F_TIMESTAMP_PL_INTERVAL, 0, TIMESTAMPOID, KAFKA_STEP_ADD, 1, -1),
	STEP1(F_TIMESTAMP_MI_INTERVAL, 0, TIMESTAMPOID, KAFKA_STEP_SUBTRACT, 1,
		  -1),
	STEP1(F_DATE_PL_INTERVAL, 0, TIMESTAMPOID, KAFKA_STEP_ADD, 1, -1),
	STEP1(F_DATE_MI_INTERVAL, 0, TIMESTAMPOID, KAFKA_STEP_SUBTRACT, 1, -1),
	STEP1(F_DATE_PLI, 0, DATEOID, KAFKA_STEP_ADD_DAYS, 1, -1),
	STEP1(F_DATE_MII, 0, DATEOID, KAFKA_STEP_SUBTRACT_DAYS, 1, -1),
	STEP1(F_TIMESTAMPTZ_MI, 0, INTERVALOID, KAFKA_STEP_SINCE, 1, -1),
	STEP1(F_TIMESTAMPTZ_MI, 1, INTERVALOID, KAFKA_STEP_UNTIL, 0, -1),
	STEP1(F_TIMESTAMP_MI, 0, INTERVALOID, KAFKA_STEP_SINCE, 1, -1),
	STEP1(F_TIMESTAMP_MI, 1, INTERVALOID, KAFKA_STEP_UNTIL, 0, -1),
	STEP1(F_DATE_MI, 0, INT4OID, KAFKA_STEP_SINCE_DATE, 1, -1),
	STEP1(F_DATE_MI, 1, INT4OID, KAFKA_STEP_UNTIL_DATE, 0, -1),

	/*
	 * Seconds since 1970.  Not date_part of an interval: it adds up floating
	 * point numbers in an order of its own.
	 */
	OF_EPOCH(F_EXTRACT_TEXT_TIMESTAMPTZ, NUMERICOID, 1),
	OF_EPOCH(F_EXTRACT_TEXT_TIMESTAMP, NUMERICOID, 1),
	OF_EPOCH(F_EXTRACT_TEXT_DATE, NUMERICOID, 1),
	OF_EPOCH(F_DATE_PART_TEXT_TIMESTAMPTZ, FLOAT8OID, 1),
	OF_EPOCH(F_DATE_PART_TEXT_TIMESTAMP, FLOAT8OID, 1),
	OF_EPOCH(F_EXTRACT_TEXT_INTERVAL, NUMERICOID, 0),

	/* integers of partitions and offsets, without loss */
	NO_STEP(F_INT4_INT2, 0, INT4OID),
	NO_STEP(F_INT8_INT2, 0, INT8OID),
	NO_STEP(F_INT8_INT4, 0, INT8OID),
	NO_STEP(F_NUMERIC_INT2, 0, NUMERICOID),
	NO_STEP(F_NUMERIC_INT4, 0, NUMERICOID),
	NO_STEP(F_NUMERIC_INT8, 0, NUMERICOID),
};

bool
kafka_form_add_step(KafkaForm *form, KafkaStepKind kind, int arg0, int arg1)
{
	if (form->nsteps == KAFKA_MAX_STEPS)
		return false;
	form->steps[form->nsteps++] = (KafkaStep){kind, {arg0, arg1}};
	return true;
}

bool
kafka_form_is_reversed(const KafkaForm *form)
{
	bool reversed = false;

	for (int i = 0; i < form->nsteps; i++)
	{
		if (form->steps[i].kind == KAFKA_STEP_UNTIL ||
			form->steps[i].kind == KAFKA_STEP_UNTIL_DATE)
			reversed = !reversed;
	}
	return reversed;
}

/* Is there a column of the relation in the expression? */
static bool
uses_relation(Node *node, void *relid)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varlevelsup == 0 &&
			   ((Var *) node)->varno == *(const Index *) relid;
	if (IsA(node, PlaceHolderVar) &&
		((PlaceHolderVar *) node)->phlevelsup == 0 &&
		bms_is_member(*(const Index *) relid,
					  ((PlaceHolderVar *) node)->phrels))
		return true;
	return expression_tree_walker(node, uses_relation, relid);
}

int
kafka_build_add_value(KafkaBuildState *state, Node *value)
{
	Index relid = state->columns->relid;

	if (uses_relation(value, &relid) || contain_volatile_functions(value) ||
		contain_subplans(value) || contain_agg_clause(value) ||
		contain_windowfuncs(value))
		return -1;
	state->exprs = lappend(state->exprs, value);
	return list_length(state->exprs) - 1;
}

/* What a column of a time has gone through since it was the record's. */
static bool
start_time_form(const Var *var, Oid type, KafkaForm *form)
{
	int32 typmod = var->vartypmod;

	form->dimension = KAFKA_DIMENSION_TIME;
	form->type = type;
	if (type == TIMESTAMPOID)
		(void) kafka_form_add_step(form, KAFKA_STEP_AT_ZONE, SESSION, -1);
	else if (type != TIMESTAMPTZOID)
		return false;
	(void) getBaseTypeAndTypmod(var->vartype, &typmod);
	if (typmod >= 0 && typmod < MILLISECOND_PRECISION)
		(void) kafka_form_add_step(form, KAFKA_STEP_ROUND, -1, typmod);
	return true;
}

/* A column; *form is empty. */
static bool
match_column(const KafkaPushdownColumns *columns, const Var *var,
			 KafkaForm *form)
{
	if (var->varno != columns->relid || var->varlevelsup != 0 ||
		var->varattno <= 0)
		return false;
	for (int i = 0; i < columns->nskewed; i++)
	{
		if (columns->skewed[i].attnum != var->varattno)
			continue;
		form->skew_ms = columns->skewed[i].max_skew_ms;
		return start_time_form(var, TIMESTAMPTZOID, form);
	}
	for (int d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		Oid type = columns->type[d];

		if (columns->attnum[d] != var->varattno)
			continue;
		if (d == KAFKA_DIMENSION_TIME)
			return start_time_form(var, type, form);
		form->dimension = (KafkaDimension) d;
		if (d == KAFKA_DIMENSION_KEY_HASH)
		{
			int32 typmod = var->vartypmod;

			/* varchar(n) is without the spaces at the end of a longer key */
			(void) getBaseTypeAndTypmod(var->vartype, &typmod);
			form->type = type == VARCHAROID ? TEXTOID : type;
			return typmod < 0 && (form->type == TEXTOID || type == BYTEAOID);
		}
		form->type = type;
		return type == INT2OID || type == INT4OID || type == INT8OID;
	}
	return false;
}

/* EXTRACT(epoch FROM ...), whatever case it is written in */
static bool
is_epoch(const Node *field)
{
	const Const *constant = (const Const *) field;
	char *name;
	bool result;

	if (!IsA(field, Const) || constant->constisnull)
		return false;
	name = TextDatumGetCString(constant->constvalue);
	result = pg_strcasecmp(name, "epoch") == 0;
	pfree(name);
	return result;
}

/* Adds the steps of a rule to the form its column argument is. */
static bool
add_steps(KafkaBuildState *state, const FormRule *rule, List *args,
		  KafkaForm *form)
{
	int values[MAX_RULE_ARGS] = {-1, -1, -1};

	/* a number of days, which a numeric of a time would not be */
	if (form->dimension == KAFKA_DIMENSION_TIME &&
		rule->result == NUMERICOID &&
		(form->type == INT4OID || form->type == INT8OID))
		return false;
	for (int i = 0; i < rule->nsteps; i++)
	{
		int numbers[2] = {-1, -1};

		for (int j = 0; j < 2; j++)
		{
			int arg = rule->steps[i].args[j];

			if (arg < 0)
				continue;
			if (values[arg] < 0)
				values[arg] =
					kafka_build_add_value(state, list_nth(args, arg));
			if (values[arg] < 0)
				return false;
			numbers[j] = values[arg];
		}
		if (!kafka_form_add_step(form, rule->steps[i].kind, numbers[0],
								 numbers[1]))
			return false;
	}
	form->type = rule->result;
	return true;
}

static bool match_form(KafkaBuildState *state, Node *expr, KafkaForm *form);

static bool
match_call(KafkaBuildState *state, Oid function, List *args, KafkaForm *form)
{
	int nvalues = list_length(state->exprs);

	for (int i = 0; i < (int) lengthof(rules); i++)
	{
		const FormRule *rule = &rules[i];

		if (rule->function != function)
			continue;
		memset(form, 0, sizeof(*form));
		if ((!rule->is_of_epoch || is_epoch(linitial(args))) &&
			match_form(state, list_nth(args, rule->column), form) &&
			add_steps(state, rule, args, form))
			return true;
		state->exprs = list_truncate(state->exprs, nvalues);
	}
	return false;
}

/* Other casts than those in the table and changes of name are unknown. */
static bool
match_form(KafkaBuildState *state, Node *expr, KafkaForm *form)
{
	check_stack_depth();

	switch (nodeTag(expr))
	{
		case T_Var:
			return match_column(state->columns, (Var *) expr, form);
		case T_RelabelType:
			return match_form(state, (Node *) ((RelabelType *) expr)->arg,
							  form);
		case T_FuncExpr:
			return match_call(state, ((FuncExpr *) expr)->funcid,
							  ((FuncExpr *) expr)->args, form);
		case T_OpExpr:
			return match_call(state, get_opcode(((OpExpr *) expr)->opno),
							  ((OpExpr *) expr)->args, form);
		default:
			return false;
	}
}

bool
kafka_form_match(KafkaBuildState *state, Node *expr, KafkaForm *form)
{
	memset(form, 0, sizeof(*form));
	return match_form(state, expr, form);
}

bool
kafka_pushdown_is_form(const KafkaPushdownColumns *columns, Expr *expr)
{
	KafkaBuildState state = {.columns = columns};
	KafkaForm form;

	return kafka_form_match(&state, (Node *) expr, &form);
}
