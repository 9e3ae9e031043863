/*
 * Jdbc.java
 *	  Does with pgjdbc what BI tools do with it, by commands, one a line, with
 *	  words that are separated by tabs:
 *
 *	  connect URL			to jdbc:postgresql:URL, closing what was open
 *	  autocommit on|off
 *	  commit, rollback
 *	  tables SCHEMA			every table, view and the like: name, type, remarks
 *	  columns SCHEMA TABLE	name, type in JDBC, type in the server, size, digits,
 *							nullable, remarks
 *	  metadata SCHEMA TABLE	how many rows each of the other lists has: name, count
 *	  describe QUERY		name and type of the columns, without executing it
 *	  query SQL				the rows, if there are any
 *	  call SQL				the same of a call in the driver's own syntax, {call ...}
 *	  open QUERY			executes it; the rows are left to:
 *	  fetch COUNT			so many of them, fewer at the end
 *	  prepare SQL			a statement with parameters ?, which are texts
 *	  execute VALUE...		executes it
 *	  start SQL				begins to execute it in another thread
 *	  cancel				Statement.cancel for that
 *	  finish				waits for it; its rows
 *
 * Each answer is lines of values separated by tabs, NULL as \N, or one line
 * "ERROR: SQLSTATE message", and ends with a line "\.".
 */
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.JDBCType;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;

public class Jdbc
{
	private final StringBuilder answer = new StringBuilder();
	private Connection connection;
	private PreparedStatement prepared;
	private ResultSet open;
	private Statement running;
	private FutureTask<String> task;

	private static void appendLine(StringBuilder to, Object... values)
	{
		String separator = "";

		for (Object value : values)
		{
			to.append(separator).append(value == null ? "\\N" : value);
			separator = "\t";
		}
		to.append('\n');
	}

	/* At most limit rows, with all columns. */
	private static void appendRows(StringBuilder to, ResultSet rows, long limit) throws SQLException
	{
		int count = rows.getMetaData().getColumnCount();
		Object[] values = new Object[count];

		for (long n = 0; n < limit && rows.next(); n++)
		{
			for (int i = 0; i < count; i++)
				values[i] = rows.getString(i + 1);
			appendLine(to, values);
		}
	}

	/* All rows, with some columns. */
	private void appendList(ResultSet rows, String... columns) throws SQLException
	{
		Object[] values = new Object[columns.length];

		while (rows.next())
		{
			for (int i = 0; i < columns.length; i++)
			{
				if (columns[i].equals("DATA_TYPE"))
					values[i] = JDBCType.valueOf(rows.getInt(columns[i])).getName();
				else
					values[i] = rows.getString(columns[i]);
			}
			appendLine(answer, values);
		}
		rows.close();
	}

	private void appendCount(String name, ResultSet rows) throws SQLException
	{
		int count = 0;

		while (rows.next())
			count++;
		rows.close();
		appendLine(answer, name, count);
	}

	private void listOthers(String schema, String table) throws SQLException
	{
		DatabaseMetaData about = connection.getMetaData();

		appendCount("primary keys", about.getPrimaryKeys(null, schema, table));
		appendCount("indexes", about.getIndexInfo(null, schema, table, false, true));
		appendCount("imported keys", about.getImportedKeys(null, schema, table));
		appendCount("exported keys", about.getExportedKeys(null, schema, table));
		appendCount("row identifiers",
					about.getBestRowIdentifier(null, schema, table, DatabaseMetaData.bestRowSession, true));
		appendCount("table privileges", about.getTablePrivileges(null, schema, table));
		appendCount("column privileges", about.getColumnPrivileges(null, schema, table, null));
		appendCount("schemas", about.getSchemas(null, schema));
		appendCount("types", about.getTypeInfo());
		appendCount("procedures", about.getProcedures(null, "kafka", "run_rollups"));
		appendCount("functions", about.getFunctions(null, "kafka", "create_rollup"));
	}

	private void describe(String query) throws SQLException
	{
		try (PreparedStatement statement = connection.prepareStatement(query))
		{
			ResultSetMetaData about = statement.getMetaData();

			for (int i = 1; i <= about.getColumnCount(); i++)
				appendLine(answer, about.getColumnName(i), JDBCType.valueOf(about.getColumnType(i)).getName());
		}
	}

	private static String execute(Statement statement, String sql) throws SQLException
	{
		StringBuilder rows = new StringBuilder();

		if (statement.execute(sql))
			appendRows(rows, statement.getResultSet(), Long.MAX_VALUE);
		return rows.toString();
	}

	private void query(String sql) throws SQLException
	{
		try (Statement statement = connection.createStatement())
		{
			answer.append(execute(statement, sql));
		}
	}

	private void call(String sql) throws SQLException
	{
		try (PreparedStatement statement = connection.prepareCall(sql))
		{
			statement.execute();
		}
	}

	private void executePrepared(String[] words) throws SQLException
	{
		for (int i = 1; i < words.length; i++)
			prepared.setString(i, words[i]);
		if (prepared.execute())
			appendRows(answer, prepared.getResultSet(), Long.MAX_VALUE);
	}

	private void start(String sql) throws SQLException
	{
		Statement statement = connection.createStatement();
		Callable<String> work = () -> execute(statement, sql);

		running = statement;
		task = new FutureTask<>(work);
		new Thread(task).start();
	}

	private void finish() throws Exception
	{
		try
		{
			answer.append(task.get());
		}
		catch (ExecutionException e)
		{
			throw (Exception) e.getCause();
		}
	}

	private void connect(String url) throws SQLException
	{
		if (connection != null)
			connection.close();
		connection = DriverManager.getConnection("jdbc:postgresql:" + url);
	}

	private void execute(String[] words) throws Exception
	{
		switch (words[0])
		{
			case "connect":
				connect(words[1]);
				break;
			case "autocommit":
				connection.setAutoCommit(words[1].equals("on"));
				break;
			case "commit":
				connection.commit();
				break;
			case "rollback":
				connection.rollback();
				break;
			case "tables":
				appendList(connection.getMetaData().getTables(null, words[1], "%", null),
						   "TABLE_NAME", "TABLE_TYPE", "REMARKS");
				break;
			case "columns":
				appendList(connection.getMetaData().getColumns(null, words[1], words[2], "%"),
						   "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "COLUMN_SIZE", "DECIMAL_DIGITS",
						   "IS_NULLABLE", "REMARKS");
				break;
			case "metadata":
				listOthers(words[1], words[2]);
				break;
			case "describe":
				describe(words[1]);
				break;
			case "query":
				query(words[1]);
				break;
			case "call":
				call(words[1]);
				break;
			case "open":
				open = connection.createStatement().executeQuery(words[1]);
				break;
			case "fetch":
				appendRows(answer, open, Long.parseLong(words[1]));
				break;
			case "prepare":
				prepared = connection.prepareStatement(words[1]);
				break;
			case "execute":
				executePrepared(words);
				break;
			case "start":
				start(words[1]);
				break;
			case "cancel":
				running.cancel();
				break;
			case "finish":
				finish();
				break;
			default:
				throw new IllegalArgumentException("unknown command " + words[0]);
		}
	}

	private String answerTo(String line)
	{
		answer.setLength(0);
		try
		{
			execute(line.split("\t"));
		}
		catch (SQLException e)
		{
			return "ERROR: " + e.getSQLState() + " " + e.getMessage() + "\n";
		}
		catch (Exception e)
		{
			return "ERROR: " + e + "\n";
		}
		return answer.toString();
	}

	public static void main(String[] args) throws Exception
	{
		Jdbc jdbc = new Jdbc();
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
		PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
		String line;

		while ((line = in.readLine()) != null)
		{
			out.print(jdbc.answerTo(line));
			out.print("\\.\n");
			out.flush();
		}
	}
}
