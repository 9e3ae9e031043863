/*
 * odbc.c
 *	  Does with psqlODBC what BI tools do with it, by the commands of Jdbc.java
 *	  and with its answers.  "connect" takes an ODBC connection string.
 *
 * What differs lies in ODBC: the types are ODBC's, and "metadata" has the lists
 * that this driver knows.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sql.h>
#include <sqlext.h>

#define MAX_WORDS 16
#define MAX_TEXT 65536

typedef struct Answer
{
	char *text;
	size_t length;
} Answer;

static SQLHENV environment = SQL_NULL_HENV;
static SQLHDBC connection = SQL_NULL_HDBC;
static SQLHSTMT opened = SQL_NULL_HSTMT;
static SQLHSTMT prepared = SQL_NULL_HSTMT;

/* What the other thread does; nobody else uses it before that has ended. */
static pthread_t runner;
static SQLHSTMT running = SQL_NULL_HSTMT;
static char running_sql[MAX_TEXT];
static Answer running_answer;

/* ----------------------------------------------------------------
 * Answers
 * ----------------------------------------------------------------
 */

static void
append(Answer *answer, const char *text)
{
	size_t more = strlen(text);

	answer->text = realloc(answer->text, answer->length + more + 1);
	if (answer->text == NULL)
		abort();
	memcpy(answer->text + answer->length, text, more + 1);
	answer->length += more;
}

/* Makes the answer the error of a handle; false, for callers to return. */
static bool
fail(Answer *answer, SQLSMALLINT type, SQLHANDLE handle)
{
	SQLCHAR state[6] = "HY000";
	SQLCHAR message[4096] = "no message";

	answer->length = 0;
	(void) SQLGetDiagRec(type, handle, 1, state, NULL, message,
						 sizeof(message), NULL);
	append(answer, "ERROR: ");
	append(answer, (char *) state);
	append(answer, " ");
	append(answer, (char *) message);
	append(answer, "\n");
	return false;
}

static bool
check(Answer *answer, SQLHSTMT statement, SQLRETURN result)
{
	if (SQL_SUCCEEDED(result) || result == SQL_NO_DATA)
		return true;
	return fail(answer, SQL_HANDLE_STMT, statement);
}

static const char *
get_type_name(SQLSMALLINT type)
{
	static const struct
	{
		SQLSMALLINT type;
		const char *name;
	} names[] = {{SQL_BIT, "BIT"},
				 {SQL_SMALLINT, "SMALLINT"},
				 {SQL_INTEGER, "INTEGER"},
				 {SQL_BIGINT, "BIGINT"},
				 {SQL_REAL, "REAL"},
				 {SQL_FLOAT, "FLOAT"},
				 {SQL_DOUBLE, "DOUBLE"},
				 {SQL_NUMERIC, "NUMERIC"},
				 {SQL_TYPE_DATE, "DATE"},
				 {SQL_TYPE_TIMESTAMP, "TIMESTAMP"},
				 {SQL_VARCHAR, "VARCHAR"},
				 {SQL_WVARCHAR, "WVARCHAR"},
				 {SQL_LONGVARCHAR, "LONGVARCHAR"},
				 {SQL_WLONGVARCHAR, "WLONGVARCHAR"}};
	static char other[16];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (names[i].type == type)
			return names[i].name;
	}
	snprintf(other, sizeof(other), "%d", type);
	return other;
}

/* ----------------------------------------------------------------
 * Results
 * ----------------------------------------------------------------
 */

/* A value of the present row, however long it is. */
static bool
append_value(Answer *answer, SQLHSTMT statement, SQLUSMALLINT column)
{
	char part[256];
	SQLLEN length;
	SQLRETURN result;

	do
	{
		result = SQLGetData(statement, column, SQL_C_CHAR, part, sizeof(part),
							&length);
		if (!SQL_SUCCEEDED(result))
			return fail(answer, SQL_HANDLE_STMT, statement);
		append(answer, length == SQL_NULL_DATA ? "\\N" : part);
	} while (result == SQL_SUCCESS_WITH_INFO);
	return true;
}

/* At most limit rows, with the columns given by number, or with all for NULL. */
static bool
append_rows(Answer *answer, SQLHSTMT statement, long limit,
			const SQLUSMALLINT *columns, SQLSMALLINT count)
{
	SQLRETURN result = SQL_SUCCESS;

	if (columns == NULL &&
		!check(answer, statement, SQLNumResultCols(statement, &count)))
		return false;
	for (long n = 0; count > 0 && n < limit; n++)
	{
		result = SQLFetch(statement);
		if (result == SQL_NO_DATA)
			break;
		if (!check(answer, statement, result))
			return false;
		for (SQLUSMALLINT i = 0; i < count; i++)
		{
			if (i > 0)
				append(answer, "\t");
			if (!append_value(answer, statement, columns ? columns[i] : i + 1))
				return false;
		}
		append(answer, "\n");
	}
	return true;
}

static SQLHSTMT
make_statement(void)
{
	SQLHSTMT statement = SQL_NULL_HSTMT;

	(void) SQLAllocHandle(SQL_HANDLE_STMT, connection, &statement);
	return statement;
}

static void
free_statement(SQLHSTMT *statement)
{
	if (*statement != SQL_NULL_HSTMT)
		SQLFreeHandle(SQL_HANDLE_STMT, *statement);
	*statement = SQL_NULL_HSTMT;
}

static void
execute(Answer *answer, SQLHSTMT statement, const char *sql)
{
	if (check(answer, statement,
			  SQLExecDirect(statement, (SQLCHAR *) sql, SQL_NTS)))
		(void) append_rows(answer, statement, MAX_TEXT, NULL, 0);
}

/* ----------------------------------------------------------------
 * Catalogs
 * ----------------------------------------------------------------
 */

static void
list_tables(Answer *answer, char *schema)
{
	static const SQLUSMALLINT columns[] = {3, 4, 5};
	SQLHSTMT statement = make_statement();

	if (check(answer, statement,
			  SQLTables(statement, NULL, 0, (SQLCHAR *) schema, SQL_NTS,
						(SQLCHAR *) "%", SQL_NTS, NULL, 0)))
		(void) append_rows(answer, statement, MAX_TEXT, columns, 3);
	free_statement(&statement);
}

/* The type is a number in the list: names come by another way. */
static void
list_columns(Answer *answer, char *schema, char *table)
{
	static const SQLUSMALLINT rest[] = {6, 7, 9, 11, 12};
	SQLHSTMT statement = make_statement();
	bool good = check(answer, statement,
					  SQLColumns(statement, NULL, 0, (SQLCHAR *) schema,
								 SQL_NTS, (SQLCHAR *) table, SQL_NTS,
								 (SQLCHAR *) "%", SQL_NTS));

	while (good && SQL_SUCCEEDED(SQLFetch(statement)))
	{
		SQLSMALLINT type = 0;

		good = append_value(answer, statement, 4) &&
			   check(answer, statement,
					 SQLGetData(statement, 5, SQL_C_SSHORT, &type, 0, NULL));
		append(answer, "\t");
		append(answer, get_type_name(type));
		for (size_t i = 0; good && i < sizeof(rest) / sizeof(rest[0]); i++)
		{
			append(answer, "\t");
			good = append_value(answer, statement, rest[i]);
		}
		append(answer, "\n");
	}
	free_statement(&statement);
}

/* Counts the rows of a list. */
static void
append_count(Answer *answer, const char *name, SQLHSTMT statement,
			 SQLRETURN result)
{
	char line[64];
	int count = 0;

	if (SQL_SUCCEEDED(result))
	{
		while (SQL_SUCCEEDED(SQLFetch(statement)))
			count++;
		snprintf(line, sizeof(line), "%s\t%d\n", name, count);
		append(answer, line);
	}
	else
		(void) fail(answer, SQL_HANDLE_STMT, statement);
	SQLCloseCursor(statement);
}

static void
list_others(Answer *answer, char *schema, char *table)
{
	SQLHSTMT s = make_statement();
	SQLCHAR *in = (SQLCHAR *) schema;
	SQLCHAR *of = (SQLCHAR *) table;

	append_count(answer, "primary keys", s,
				 SQLPrimaryKeys(s, NULL, 0, in, SQL_NTS, of, SQL_NTS));
	append_count(answer, "indexes", s,
				 SQLStatistics(s, NULL, 0, in, SQL_NTS, of, SQL_NTS,
							   SQL_INDEX_ALL, SQL_QUICK));
	append_count(answer, "foreign keys", s,
				 SQLForeignKeys(s, NULL, 0, NULL, 0, NULL, 0, NULL, 0, in,
								SQL_NTS, of, SQL_NTS));
	append_count(answer, "row identifiers", s,
				 SQLSpecialColumns(s, SQL_BEST_ROWID, NULL, 0, in, SQL_NTS, of,
								   SQL_NTS, SQL_SCOPE_SESSION, SQL_NULLABLE));
	append_count(answer, "table privileges", s,
				 SQLTablePrivileges(s, NULL, 0, in, SQL_NTS, of, SQL_NTS));
	append_count(answer, "types", s, SQLGetTypeInfo(s, SQL_ALL_TYPES));
	append_count(answer, "procedures", s,
				 SQLProcedures(s, NULL, 0, (SQLCHAR *) "kafka", SQL_NTS,
							   (SQLCHAR *) "run_rollups", SQL_NTS));
	free_statement(&s);
}

/* ----------------------------------------------------------------
 * Statements
 * ----------------------------------------------------------------
 */

static void
describe(Answer *answer, char *query)
{
	SQLHSTMT statement = make_statement();
	SQLSMALLINT count = 0;

	if (!check(answer, statement,
			   SQLPrepare(statement, (SQLCHAR *) query, SQL_NTS)) ||
		!check(answer, statement, SQLNumResultCols(statement, &count)))
		count = 0;
	for (SQLSMALLINT i = 1; i <= count; i++)
	{
		SQLCHAR name[128];
		SQLSMALLINT type;

		if (!check(answer, statement,
				   SQLDescribeCol(statement, i, name, sizeof(name), NULL,
								  &type, NULL, NULL, NULL)))
			break;
		append(answer, (char *) name);
		append(answer, "\t");
		append(answer, get_type_name(type));
		append(answer, "\n");
	}
	free_statement(&statement);
}

static void
query(Answer *answer, const char *sql)
{
	SQLHSTMT statement = make_statement();

	execute(answer, statement, sql);
	free_statement(&statement);
}

static void
open_query(Answer *answer, const char *sql)
{
	free_statement(&opened);
	opened = make_statement();
	(void) check(answer, opened,
				 SQLExecDirect(opened, (SQLCHAR *) sql, SQL_NTS));
}

static void
prepare(Answer *answer, char *sql)
{
	free_statement(&prepared);
	prepared = make_statement();
	(void) check(answer, prepared,
				 SQLPrepare(prepared, (SQLCHAR *) sql, SQL_NTS));
}

static void
execute_prepared(Answer *answer, char **values, int count)
{
	SQLLEN lengths[MAX_WORDS];

	for (int i = 0; i < count; i++)
	{
		lengths[i] = SQL_NTS;
		if (!check(answer, prepared,
				   SQLBindParameter(prepared, i + 1, SQL_PARAM_INPUT,
									SQL_C_CHAR, SQL_VARCHAR, 100, 0, values[i],
									0, &lengths[i])))
			return;
	}
	if (check(answer, prepared, SQLExecute(prepared)))
		(void) append_rows(answer, prepared, MAX_TEXT, NULL, 0);
	SQLCloseCursor(prepared);
}

static void *
run(void *arg)
{
	(void) arg;
	execute(&running_answer, running, running_sql);
	return NULL;
}

static void
start(const char *sql)
{
	free_statement(&running);
	running = make_statement();
	running_answer.length = 0;
	snprintf(running_sql, sizeof(running_sql), "%s", sql);
	if (pthread_create(&runner, NULL, run, NULL) != 0)
		abort();
}

static void
finish(Answer *answer)
{
	pthread_join(runner, NULL);
	if (running_answer.length > 0)
		append(answer, running_answer.text);
}

/* ----------------------------------------------------------------
 * Connections
 * ----------------------------------------------------------------
 */

static void
disconnect(void)
{
	free_statement(&opened);
	free_statement(&prepared);
	free_statement(&running);
	if (connection == SQL_NULL_HDBC)
		return;
	SQLDisconnect(connection);
	SQLFreeHandle(SQL_HANDLE_DBC, connection);
	connection = SQL_NULL_HDBC;
}

static void
connect(Answer *answer, char *string)
{
	disconnect();
	SQLAllocHandle(SQL_HANDLE_DBC, environment, &connection);
	if (!SQL_SUCCEEDED(SQLDriverConnect(connection, NULL, (SQLCHAR *) string,
										SQL_NTS, NULL, 0, NULL,
										SQL_DRIVER_NOPROMPT)))
		(void) fail(answer, SQL_HANDLE_DBC, connection);
}

static void
set_autocommit(Answer *answer, bool on)
{
	SQLULEN value = on ? SQL_AUTOCOMMIT_ON : SQL_AUTOCOMMIT_OFF;

	if (!SQL_SUCCEEDED(SQLSetConnectAttr(connection, SQL_ATTR_AUTOCOMMIT,
										 (SQLPOINTER) value, 0)))
		(void) fail(answer, SQL_HANDLE_DBC, connection);
}

static void
end_transaction(Answer *answer, SQLSMALLINT how)
{
	if (!SQL_SUCCEEDED(SQLEndTran(SQL_HANDLE_DBC, connection, how)))
		(void) fail(answer, SQL_HANDLE_DBC, connection);
}

/* ----------------------------------------------------------------
 * Commands
 * ----------------------------------------------------------------
 */

static bool
execute_connection_command(Answer *answer, char **words)
{
	if (strcmp(words[0], "connect") == 0)
		connect(answer, words[1]);
	else if (strcmp(words[0], "autocommit") == 0)
		set_autocommit(answer, strcmp(words[1], "on") == 0);
	else if (strcmp(words[0], "commit") == 0)
		end_transaction(answer, SQL_COMMIT);
	else if (strcmp(words[0], "rollback") == 0)
		end_transaction(answer, SQL_ROLLBACK);
	else if (strcmp(words[0], "tables") == 0)
		list_tables(answer, words[1]);
	else if (strcmp(words[0], "columns") == 0)
		list_columns(answer, words[1], words[2]);
	else if (strcmp(words[0], "metadata") == 0)
		list_others(answer, words[1], words[2]);
	else
		return false;
	return true;
}

static void
execute_command(Answer *answer, char **words, int count)
{
	if (execute_connection_command(answer, words))
		return;
	if (strcmp(words[0], "describe") == 0)
		describe(answer, words[1]);
	else if (strcmp(words[0], "query") == 0 || strcmp(words[0], "call") == 0)
		query(answer, words[1]);
	else if (strcmp(words[0], "open") == 0)
		open_query(answer, words[1]);
	else if (strcmp(words[0], "fetch") == 0)
		(void) append_rows(answer, opened, atol(words[1]), NULL, 0);
	else if (strcmp(words[0], "prepare") == 0)
		prepare(answer, words[1]);
	else if (strcmp(words[0], "execute") == 0)
		execute_prepared(answer, words + 1, count - 1);
	else if (strcmp(words[0], "start") == 0)
		start(words[1]);
	else if (strcmp(words[0], "cancel") == 0)
		(void) check(answer, running, SQLCancel(running));
	else if (strcmp(words[0], "finish") == 0)
		finish(answer);
	else
		append(answer, "ERROR: unknown command\n");
}

/* Splits a line at its tabs, in place; words that are missing are empty. */
static int
split_line(char *line, char **words)
{
	static char empty[] = "";
	int count = 0;

	line[strcspn(line, "\n")] = '\0';
	for (int i = 0; i < MAX_WORDS; i++)
		words[i] = empty;
	while (line != NULL && count < MAX_WORDS)
		words[count++] = strsep(&line, "\t");
	return count;
}

int
main(void)
{
	static char line[MAX_TEXT];
	char *words[MAX_WORDS];

	SQLAllocHandle(SQL_HANDLE_ENV, SQL_NULL_HANDLE, &environment);
	SQLSetEnvAttr(environment, SQL_ATTR_ODBC_VERSION,
				  (SQLPOINTER) SQL_OV_ODBC3, 0);
	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		Answer answer = {NULL, 0};
		int count = split_line(line, words);

		execute_command(&answer, words, count);
		if (answer.length > 0)
			fputs(answer.text, stdout);
		fputs("\\.\n", stdout);
		fflush(stdout);
		free(answer.text);
	}
	disconnect();
	SQLFreeHandle(SQL_HANDLE_ENV, environment);
	return 0;
}
