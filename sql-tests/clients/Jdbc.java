// pgjdbc: prepared statements that become server-side, fetch size, metadata, errors, cancel.

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.util.Arrays;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;

public class Jdbc {
    static final String ENDLESS =
        "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000000) b";

    public static void main(String[] args) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + args[0] + "/firesteel?user=firesteel";
        try (Connection connection = DriverManager.getConnection(url)) {
            parameters(connection);
            fetchSize(connection);
            errors(connection);
            transactions(connection);
            metadata(connection);
            cancel(connection);
            copy(connection);
        }
        // The simple protocol, as poolers ask for it.
        try (Connection connection = DriverManager.getConnection(url + "&preferQueryMode=simple")) {
            parameters(connection);
        }
    }

    static void parameters(Connection connection) throws SQLException {
        String sql = "SELECT ?::int4 + 1, ?::text, ?::float8, ?::numeric, ?::date, ?::bool, ?::int8";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            // After the fifth time the driver names the statement and asks for binary results.
            for (int round = 0; round < 8; round++) {
                statement.setInt(1, round);
                statement.setString(2, "x" + round);
                statement.setDouble(3, 0.5);
                statement.setBigDecimal(4, new BigDecimal("123.4500"));
                statement.setDate(5, Date.valueOf("2024-02-29"));
                statement.setBoolean(6, true);
                statement.setLong(7, Long.MIN_VALUE);
                try (ResultSet rows = statement.executeQuery()) {
                    check(rows.next(), "no row");
                    check(rows.getInt(1) == round + 1, "int4");
                    check(rows.getString(2).equals("x" + round), "text");
                    check(rows.getDouble(3) == 0.5, "float8");
                    check(rows.getBigDecimal(4).equals(new BigDecimal("123.4500")), "numeric");
                    check(rows.getDate(5).equals(Date.valueOf("2024-02-29")), "date");
                    check(rows.getBoolean(6), "bool");
                    check(rows.getLong(7) == Long.MIN_VALUE, "int8");
                    check(!rows.next(), "a second row");
                }
            }
            statement.setNull(2, Types.VARCHAR);
            try (ResultSet rows = statement.executeQuery()) {
                check(rows.next() && rows.getString(2) == null && rows.wasNull(), "NULL");
            }
        }
    }

    static void fetchSize(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(1000);
            long total = 0;
            try (ResultSet rows =
                    statement.executeQuery("SELECT x FROM generate_series(1, 50000) AS t(x)")) {
                while (rows.next()) {
                    total += rows.getInt(1);
                }
            }
            check(total == 50000L * 50001 / 2, "sum over a fetch size: " + total);
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    static void copy(Connection connection) throws Exception {
        CopyManager copies = connection.unwrap(PGConnection.class).getCopyAPI();
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE TEMP TABLE copied (a INT, b TEXT)");
        }
        String data = "1,one\n2,\"two, \"\"quoted\"\"\"\n3,\n";
        long in = copies.copyIn("COPY copied FROM STDIN (FORMAT csv)", new StringReader(data));
        check(in == 3, "copied in: " + in);
        StringWriter out = new StringWriter();
        long rows = copies.copyOut("COPY (SELECT * FROM copied ORDER BY a) TO STDOUT CSV", out);
        check(rows == 3 && out.toString().equals(data), "copied out: " + rows + " " + out);
        try {
            copies.copyIn("COPY copied FROM STDIN", new StringReader("x\ty\n"));
            throw new AssertionError("not refused");
        } catch (SQLException error) {
            check(error.getSQLState().equals("22P02"), "COPY error: " + error.getSQLState());
        }
        CopyIn given = copies.copyIn("COPY copied FROM STDIN");
        given.writeToCopy("9\tnine\n".getBytes(), 0, 7);
        given.cancelCopy();
        try (Statement statement = connection.createStatement();
                ResultSet count = statement.executeQuery("SELECT count(*) FROM copied")) {
            check(count.next() && count.getInt(1) == 3, "rows after a cancelled COPY");
        }
    }

    static void errors(Connection connection) throws SQLException {
        String[][] cases = {
            {"SELECT * FROM nowhere", "42P01"},
            {"SELECT 1 / 0", "22012"},
            {"SELEC 1", "42601"},
        };
        for (String[] one : cases) {
            try (Statement statement = connection.createStatement()) {
                statement.executeQuery(one[0]);
                throw new AssertionError("no error: " + one[0]);
            } catch (SQLException error) {
                check(one[1].equals(error.getSQLState()), one[0] + ": " + error.getSQLState());
            }
        }
    }

    static void transactions(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE TEMP TABLE gone (a INT, b TEXT)");
            check(statement.executeUpdate("INSERT INTO gone VALUES (1, 'x'), (2, NULL)") == 2, "count");
        }
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO gone VALUES (?, ?)")) {
            for (int n = 3; n < 8; n++) {
                insert.setInt(1, n);
                insert.setString(2, "n" + n);
                insert.addBatch();
            }
            check(Arrays.stream(insert.executeBatch()).sum() == 5, "batch");
        }
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT count(*), max(b) FROM gone")) {
            check(rows.next() && rows.getLong(1) == 7 && rows.getString(2).equals("x"), "rows");
        }
        connection.rollback();
        try (Statement statement = connection.createStatement()) {
            statement.executeQuery("SELECT * FROM gone");
            throw new AssertionError("gone is there");
        } catch (SQLException error) {
            check("42P01".equals(error.getSQLState()), error.getSQLState());
        }
        connection.rollback();
        connection.setAutoCommit(true);
    }

    static void metadata(Connection connection) throws SQLException {
        check(connection.getMetaData().getDatabaseProductName().equals("PostgreSQL"), "product");
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE SCHEMA jd");
            statement.execute("CREATE VIEW jd.v AS SELECT 1 AS x, 'y' AS y");
        }
        try (ResultSet tables = connection.getMetaData().getTables(null, "jd", "%", null)) {
            check(tables.next() && tables.getString("TABLE_NAME").equals("v"), "getTables");
        }
        try (ResultSet columns = connection.getMetaData().getColumns(null, "jd", "v", "%")) {
            check(columns.next() && columns.getString("COLUMN_NAME").equals("x"), "getColumns");
        }
        try (Statement statement = connection.createStatement()) {
            statement.execute("DROP SCHEMA jd CASCADE");
        }
    }

    static void cancel(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            statement.executeQuery(ENDLESS);
            throw new AssertionError("not cancelled");
        } catch (SQLException error) {
            check("57014".equals(error.getSQLState()), error.getSQLState());
        }
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT 1")) {
            check(rows.next(), "the connection is still good");
        }
    }

    static void check(boolean good, String what) {
        if (!good) {
            throw new AssertionError(what);
        }
    }
}
