// pgjdbc, scene by scene. usage: PgjdbcScenes; reads plays from its input, fields parted by tabs a line: number host port database user
// password caFile [scene ...]; prints for each its number, a tab and one JSON object of scene -> result.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;

public class PgjdbcScenes {
  static String[] way;

  interface Scene {
    Object play(Connection connection) throws Exception;
  }

  static Connection connect(String... more) throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", way[3]);
    properties.setProperty("password", way[4]);
    properties.setProperty("sslmode", "verify-full");
    properties.setProperty("sslrootcert", way[5]);
    for (int at = 0; at < more.length; at += 2) properties.setProperty(more[at], more[at + 1]);
    return DriverManager.getConnection("jdbc:postgresql://" + way[0] + ":" + way[1] + "/" + way[2], properties);
  }

  static List<Object> rows(ResultSet result) throws SQLException {
    List<Object> rows = new ArrayList<>();
    int columns = result.getMetaData().getColumnCount();
    while (result.next()) {
      List<Object> row = new ArrayList<>();
      for (int at = 1; at <= columns; at++) {
        boolean bytes = result.getMetaData().getColumnType(at) == Types.BINARY;
        // The name of a function for the standard holds its oid.
        String text = bytes ? Arrays.toString(result.getBytes(at)) : result.getString(at);
        row.add(result.getMetaData().getColumnLabel(at).equals("SPECIFIC_NAME") ? text.replaceAll("\\d+", "n") : text);
      }
      rows.add(row);
    }
    return rows;
  }

  static List<Object> query(Connection connection, String text, Object... values) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(text)) {
      for (int at = 0; at < values.length; at++) statement.setObject(at + 1, values[at]);
      return rows(statement.executeQuery());
    }
  }

  static List<Object> told(SQLException error) {
    SQLException first = error.getNextException() == null ? error : error.getNextException();
    String message = first instanceof PSQLException known && known.getServerErrorMessage() != null ? known.getServerErrorMessage().getMessage() : first.getMessage();
    return Arrays.asList(first.getSQLState(), message);
  }

  static List<Object> failure(Scene scene, Connection connection) throws Exception {
    try {
      return Arrays.asList("unexpected", scene.play(connection));
    } catch (SQLException error) {
      return told(error);
    }
  }

  static Object types(Connection connection) throws Exception {
    Object[] values = {new BigDecimal("1234567890.0123"), OffsetDateTime.of(2026, 11, 30, 12, 0, 0, 5000, ZoneOffset.UTC),
      java.sql.Date.valueOf("2026-01-02"), new UUID(0, 9), connection.createArrayOf("int4", new Integer[] {1, null, 3}), new byte[] {0, 1, -1}, "it's \\ \"q\"", null, true, 2L};
    String text = "SELECT ?::numeric, ?::timestamptz, ?::date, ?::uuid, ?::int[], ?::bytea, ?::text, ?::text, ?::bool, ?::int8, 'paid'::status, '{\"a\": 1}'::jsonb";
    List<Object> seen = new ArrayList<>();
    for (String binary : List.of("true", "false"))
      try (Connection own = connect("binaryTransfer", binary, "prepareThreshold", "1")) {
        seen.add(query(own, text, values));
        seen.add(query(own, text, values));
      }
    return seen;
  }

  /** After five executions the driver prepares on the server by name. */
  static Object threshold(Connection connection) throws Exception {
    List<Object> seen = new ArrayList<>();
    try (PreparedStatement statement = connection.prepareStatement("SELECT id, note FROM notes WHERE id = ?")) {
      for (int at = 0; at < 9; at++) {
        statement.setInt(1, at % 4);
        seen.add(rows(statement.executeQuery()));
        seen.add(((PGStatement) statement).isUseServerPrepare());
      }
      seen.add(statement.getMetaData().getColumnTypeName(1));
    }
    for (String mode : List.of("simple", "extended", "extendedForPrepared", "extendedCacheEverything"))
      try (Connection own = connect("preferQueryMode", mode); Statement statement = own.createStatement()) {
        seen.add(query(own, "SELECT ?::int + 1, ?::text", 41, "x"));
        seen.add(rows(statement.executeQuery("SELECT 'plain'")));
        boolean more = statement.execute("SELECT 1; SELECT 2; INSERT INTO notes VALUES (60, 'x'); DELETE FROM notes WHERE id = 60");
        while (more || statement.getUpdateCount() != -1) {
          seen.add(more ? rows(statement.getResultSet()) : statement.getUpdateCount());
          more = statement.getMoreResults();
        }
      }
    return seen;
  }

  static Object fetchSize(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    long sum = 0;
    try (PreparedStatement statement = connection.prepareStatement("SELECT g FROM generate_series(1, ?) g")) {
      statement.setFetchSize(7);
      for (int run = 0; run < 7; run++) {
        statement.setInt(1, 50);
        try (ResultSet result = statement.executeQuery()) {
          while (result.next()) sum += result.getLong(1);
        }
      }
      statement.setInt(1, 1000000);
      try (ResultSet result = statement.executeQuery()) {
        result.next();
      }
    }
    connection.commit();
    return Arrays.asList(sum, query(connection, "SELECT 'alive'"));
  }

  static Object batches(Connection connection) throws Exception {
    List<Object> seen = new ArrayList<>();
    for (String rewrite : List.of("false", "true"))
      try (Connection own = connect("reWriteBatchedInserts", rewrite)) {
        own.setAutoCommit(false);
        try (PreparedStatement statement = own.prepareStatement("INSERT INTO notes VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
          for (int at = 0; at < 300; at++) {
            statement.setInt(1, 1000 + at);
            statement.setString(2, at % 7 == 0 ? null : "batched " + at);
            statement.addBatch();
          }
          seen.add(statement.executeBatch().length);
          seen.add(rows(statement.getGeneratedKeys()).size());
          statement.setInt(1, 1000);
          statement.setString(2, "twice");
          statement.addBatch();
          seen.add(failure((c) -> statement.executeBatch(), own));
        }
        own.rollback();
        seen.add(query(own, "SELECT count(*) FROM notes WHERE id >= 1000"));
      }
    return seen;
  }

  static Object copies(Connection connection) throws Exception {
    CopyManager copy = connection.unwrap(PGConnection.class).getCopyAPI();
    StringBuilder rows = new StringBuilder();
    for (int at = 0; at < 400; at++) rows.append(2000 + at).append("\tcopied ").append(at).append('\n');
    long into = copy.copyIn("COPY notes FROM STDIN", new StringReader(rows.toString()));
    StringWriter out = new StringWriter();
    long from = copy.copyOut("COPY (SELECT * FROM notes WHERE id >= 2397 ORDER BY id) TO STDOUT (FORMAT csv)", out);
    List<Object> broken = failure((c) -> copy.copyIn("COPY notes FROM STDIN", new StringReader("x\ty\n")), connection);
    var cancelled = copy.copyIn("COPY notes FROM STDIN");
    cancelled.writeToCopy("9000\tnever\n".getBytes(), 0, 11);
    cancelled.cancelCopy();
    return Arrays.asList(into, from, out.toString(), broken, query(connection, "SELECT count(*) FROM notes WHERE id = 9000"));
  }

  static Object transactions(Connection connection) throws Exception {
    List<Object> seen = new ArrayList<>();
    connection.setAutoCommit(false);
    connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
    try (Statement statement = connection.createStatement()) {
      statement.executeUpdate("INSERT INTO notes VALUES (900, 'kept')");
      Savepoint here = connection.setSavepoint("here");
      seen.add(failure((c) -> statement.executeUpdate("INSERT INTO notes VALUES (900, 'twice')"), connection));
      connection.rollback(here);
      connection.commit();
      connection.setReadOnly(true);
      seen.add(failure((c) -> statement.executeUpdate("DELETE FROM notes"), connection));
      connection.rollback();
      connection.setReadOnly(false);
      connection.setAutoCommit(true);
      seen.add(rows(statement.executeQuery("SELECT id FROM notes WHERE id >= 900")));
    }
    for (String autosave : List.of("always", "conservative"))
      try (Connection own = connect("autosave", autosave)) {
        own.setAutoCommit(false);
        seen.add(failure((c) -> query(c, "SELECT 1 / 0"), own));
        seen.add(failure((c) -> query(c, "SELECT 'goes on'"), own));
        own.rollback();
      }
    return seen;
  }

  static Object metadata(Connection connection) throws Exception {
    DatabaseMetaData data = connection.getMetaData();
    List<Object> seen = new ArrayList<>();
    seen.add(rows(data.getTables(null, "public", "%", new String[] {"TABLE", "VIEW", "MATERIALIZED VIEW", "PARTITIONED TABLE"})));
    for (String table : List.of("customers", "orders")) {
      seen.add(rows(data.getColumns(null, "public", table, "%")));
      seen.add(rows(data.getPrimaryKeys(null, "public", table)));
      seen.add(rows(data.getImportedKeys(null, "public", table)));
      seen.add(rows(data.getIndexInfo(null, "public", table, false, true)));
      seen.add(rows(data.getTablePrivileges(null, "public", table)));
    }
    seen.add(rows(data.getSchemas()));
    seen.add(rows(data.getFunctions(null, "public", "%")));
    seen.add(rows(data.getProcedures(null, "public", "%")));
    seen.add(rows(data.getTypeInfo()).size());
    return seen;
  }

  static Object errors(Connection connection) throws Exception {
    List<Object> seen = new ArrayList<>();
    for (String text : List.of("SELECT no_such_column", "SELECT 1 / 0", "SELEC 1", "SELECT 'x'::int"))
      seen.add(failure((c) -> query(c, text), connection));
    return seen;
  }

  static Object cancelled(Connection connection) throws Exception {
    try (Statement statement = connection.createStatement(); Connection watching = connect()) {
      Thread canceller = new Thread(() -> {
        try {
          String count = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'";
          while (query(watching, count).isEmpty()) Thread.sleep(20);
          statement.cancel();
        } catch (Exception error) {
          throw new RuntimeException(error);
        }
      });
      canceller.start();
      List<Object> seen = new ArrayList<>(failure((c) -> rows(statement.executeQuery("SELECT pg_sleep(60)")), connection));
      canceller.join();
      statement.setQueryTimeout(1);
      seen.addAll(failure((c) -> rows(statement.executeQuery("SELECT pg_sleep(61)")), connection));
      seen.addAll(query(connection, "SELECT 'alive'"));
      return seen;
    }
  }

  static Object notifications(Connection connection) throws Exception {
    try (Statement statement = connection.createStatement()) {
      statement.execute("DO $$ BEGIN RAISE NOTICE 'one'; END $$");
      String notice = statement.getWarnings().getMessage();
      statement.execute("LISTEN news");
      statement.execute("NOTIFY news, 'hello'");
      var heard = connection.unwrap(PGConnection.class).getNotifications(5000);
      return Arrays.asList(notice, heard[0].getName(), heard[0].getParameter());
    }
  }

  static Object settings(Connection connection) throws Exception {
    try (Connection own = connect("ApplicationName", "reports", "currentSchema", "public", "options", "-c statement_timeout=7000", "assumeMinServerVersion", "12")) {
      List<Object> seen = query(own, "SELECT current_setting('application_name'), current_setting('statement_timeout')");
      own.setSchema("public");
      seen.addAll(query(own, "SELECT count(*) FROM notes"));
      own.setClientInfo("ApplicationName", "other");
      seen.addAll(query(own, "SHOW application_name"));
      seen.add(own.isValid(5));
      return seen;
    }
  }

  static Object policy(Connection connection) throws Exception {
    Map<String, Object> seen = new LinkedHashMap<>();
    List<Object> masked = new ArrayList<>();
    for (String mode : List.of("simple", "extended"))
      for (String binary : List.of("true", "false"))
        try (Connection own = connect("preferQueryMode", mode, "binaryTransfer", binary);
            PreparedStatement statement = own.prepareStatement("SELECT name, ssn FROM people WHERE id = ?")) {
          for (int at = 0; at < 7; at++) {
            statement.setInt(1, 1);
            masked.add(rows(statement.executeQuery()));
          }
          own.setAutoCommit(false);
          statement.setFetchSize(1);
          masked.add(rows(statement.executeQuery()));
          own.commit();
          seen.put("denied in mode " + mode + binary, failure((c) -> query(c, "DELETE FROM people WHERE id = ?", 1), own));
        }
    seen.put("denied", failure((c) -> c.createStatement().execute("DROP TABLE people"), connection));
    seen.put("masked", masked);
    try (ResultSet result = connection.createStatement().executeQuery("SELECT count(*)::int FROM people")) {
      result.next();
      seen.put("after", result.getInt(1));
    }
    return seen;
  }

  public static void main(String[] arguments) throws Exception {
    TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
    Map<String, Scene> scenes = new LinkedHashMap<>();
    scenes.put("types", PgjdbcScenes::types);
    scenes.put("threshold", PgjdbcScenes::threshold);
    scenes.put("fetchSize", PgjdbcScenes::fetchSize);
    scenes.put("batches", PgjdbcScenes::batches);
    scenes.put("copies", PgjdbcScenes::copies);
    scenes.put("transactions", PgjdbcScenes::transactions);
    scenes.put("metadata", PgjdbcScenes::metadata);
    scenes.put("errors", PgjdbcScenes::errors);
    scenes.put("cancelled", PgjdbcScenes::cancelled);
    scenes.put("notifications", PgjdbcScenes::notifications);
    scenes.put("settings", PgjdbcScenes::settings);
    scenes.put("policy", PgjdbcScenes::policy);
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    for (String line : (Iterable<String>) new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)).lines()::iterator) {
      String[] fields = line.split("\t");
      way = Arrays.copyOfRange(fields, 1, 7);
      out.println(fields[0] + "\t" + json(play(scenes, Arrays.asList(fields).subList(7, fields.length))));
    }
  }

  static Map<String, Object> play(Map<String, Scene> scenes, List<String> asked) throws Exception {
    List<String> wanted = new ArrayList<>(asked);
    if (wanted.isEmpty()) for (String name : scenes.keySet()) if (!name.equals("policy")) wanted.add(name);
    Map<String, Object> results = new LinkedHashMap<>();
    for (String name : wanted)
      try (Connection connection = connect()) {
        results.put(name, scenes.get(name).play(connection));
      } catch (SQLException error) {
        results.put(name, told(error));
      }
    return results;
  }

  static String json(Object value) {
    if (value == null || value instanceof Boolean || value instanceof Number) return String.valueOf(value);
    List<String> parts = new ArrayList<>();
    if (value instanceof Map<?, ?> map) {
      map.forEach((name, item) -> parts.add(json(name) + ":" + json(item)));
      return "{" + String.join(",", parts) + "}";
    }
    if (value instanceof List<?> list) {
      list.forEach((item) -> parts.add(json(item)));
      return "[" + String.join(",", parts) + "]";
    }
    StringBuilder text = new StringBuilder("\"");
    for (char character : String.valueOf(value).toCharArray())
      if (character < ' ' || character == '"' || character == '\\') text.append(String.format("\\u%04x", (int) character));
      else text.append(character);
    return text.append('"').toString();
  }
}
