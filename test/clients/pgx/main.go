// pgx v5, scene by scene; prints one JSON object of scene -> result. usage: scenes '{"host": ..., ...}' [scene ...]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

type way struct {
	Host, User, Password, Database, CaFile string
	Port                                   int
}

var target way

func dsn() string {
	query := url.Values{"sslmode": {"verify-full"}, "sslrootcert": {target.CaFile}}
	address := url.URL{Scheme: "postgres", User: url.UserPassword(target.User, target.Password), Path: "/" + target.Database,
		Host: fmt.Sprintf("%s:%d", target.Host, target.Port), RawQuery: query.Encode()}
	return address.String()
}

var modes = []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol}

func told(err error) any {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return map[string]any{"code": server.Code, "message": server.Message, "detail": server.Detail, "constraint": server.ConstraintName}
	}
	if err != nil {
		return map[string]any{"error": strings.ReplaceAll(err.Error(), fmt.Sprint(target.Port), "PORT")}
	}
	return nil
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func rows(ctx context.Context, connection *pgx.Conn, query string, arguments ...any) any {
	result, err := connection.Query(ctx, query, arguments...)
	if err != nil {
		return told(err)
	}
	values, err := pgx.CollectRows(result, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	if err != nil {
		return told(err)
	}
	return values
}

func perMode(play func(context.Context, *pgx.Conn) any) func(context.Context, *pgx.Conn) any {
	return func(ctx context.Context, _ *pgx.Conn) any {
		seen := map[string]any{}
		for _, mode := range modes {
			config, err := pgx.ParseConfig(dsn())
			must(err)
			config.DefaultQueryExecMode = mode
			connection, err := pgx.ConnectConfig(ctx, config)
			must(err)
			seen[mode.String()] = play(ctx, connection)
			must(connection.Close(ctx))
		}
		return seen
	}
}

var scenes = map[string]func(context.Context, *pgx.Conn) any{
	"queries": perMode(func(ctx context.Context, connection *pgx.Conn) any {
		seen := []any{}
		for at := range 5 {
			seen = append(seen, rows(ctx, connection, "SELECT id, note FROM notes WHERE id = $1", at%3))
		}
		seen = append(seen, rows(ctx, connection, "SELECT $1::numeric::text, $2::timestamptz, $3::text, $4::int[], $5::bool",
			"1.50", time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), "it's", []int32{1, 2}, true))
		tag, err := connection.Exec(ctx, "UPDATE notes SET note = $1 WHERE id = $2", "changed", 1)
		return append(seen, tag.String(), told(err), rows(ctx, connection, "SELECT note FROM notes WHERE id = 1"))
	}),
	"failures": perMode(func(ctx context.Context, connection *pgx.Conn) any {
		seen := []any{}
		for _, query := range []string{"SELECT no_such_column", "SELECT 1 / 0", "SELEC 1", "SELECT 'x'::int"} {
			seen = append(seen, rows(ctx, connection, query))
		}
		return append(seen, rows(ctx, connection, "SELECT 'alive'"))
	}),
	"batches": perMode(func(ctx context.Context, connection *pgx.Conn) any {
		seen := []any{}
		for _, third := range []string{"SELECT count(*) FROM notes", "SELECT 1 / (count(*) - count(*)) FROM notes"} {
			batch := &pgx.Batch{}
			batch.Queue("INSERT INTO notes VALUES ($1, $2)", 600, "batched")
			batch.Queue("SELECT note FROM notes WHERE id = $1", 600)
			batch.Queue(third)
			batch.Queue("DELETE FROM notes WHERE id = $1", 600)
			results := connection.SendBatch(ctx, batch)
			for range batch.Len() {
				result, err := results.Query()
				if err != nil {
					seen = append(seen, told(err))
					continue
				}
				values, err := pgx.CollectRows(result, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
				seen = append(seen, values, told(err))
			}
			seen = append(seen, told(results.Close()))
		}
		return append(seen, rows(ctx, connection, "SELECT id FROM notes WHERE id = 600"))
	}),
	"transactions": func(ctx context.Context, connection *pgx.Conn) any {
		err := pgx.BeginTxFunc(ctx, connection, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO notes VALUES (900, 'gone')"); err != nil {
				return err
			}
			_ = pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
				_, err := inner.Exec(ctx, "INSERT INTO notes VALUES (900, 'twice')")
				return err
			})
			_, err := tx.Exec(ctx, "INSERT INTO notes VALUES (0, 'taken')")
			return err
		})
		return []any{told(err), rows(ctx, connection, "SELECT count(*) FROM notes WHERE id = 900")}
	},
	"prepared": func(ctx context.Context, connection *pgx.Conn) any {
		description, err := connection.Prepare(ctx, "by_id", "SELECT id, note FROM notes WHERE id = $1")
		must(err)
		seen := []any{description.ParamOIDs, len(description.Fields), rows(ctx, connection, "by_id", 1), rows(ctx, connection, "EXECUTE by_id(0)", pgx.QueryExecModeSimpleProtocol)}
		must(connection.Deallocate(ctx, "by_id"))
		must(connection.DeallocateAll(ctx))
		return append(seen, rows(ctx, connection, "SELECT 'alive'"))
	},
	"copies": func(ctx context.Context, connection *pgx.Conn) any {
		count, err := connection.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"id", "note"}, pgx.CopyFromSlice(300, func(at int) ([]any, error) {
			return []any{at + 1000, fmt.Sprintf("copied %d", at)}, nil
		}))
		var out strings.Builder
		tag, outErr := connection.PgConn().CopyTo(ctx, &out, "COPY (SELECT * FROM notes WHERE id >= 1297 ORDER BY id) TO STDOUT")
		inTag, inErr := connection.PgConn().CopyFrom(ctx, strings.NewReader("2000\tx\nbroken\ty\n"), "COPY notes FROM STDIN")
		return []any{count, told(err), tag.String(), told(outErr), out.String(), inTag.String(), told(inErr), rows(ctx, connection, "SELECT 'alive'")}
	},
	"pipeline": func(ctx context.Context, connection *pgx.Conn) any {
		seen := []any{}
		pipeline := connection.PgConn().StartPipeline(ctx)
		pipeline.SendQueryParams("SELECT $1::text", [][]byte{[]byte("one")}, nil, nil, nil)
		pipeline.SendPrepare("two", "SELECT $1::int * 2", nil)
		must(pipeline.Sync())
		pipeline.SendQueryPrepared("two", [][]byte{[]byte("21")}, nil, nil)
		pipeline.SendQueryParams("SELECT 1 / 0", nil, nil, nil, nil)
		pipeline.SendQueryParams("SELECT 'skipped'", nil, nil, nil, nil)
		must(pipeline.Sync())
		for syncs := 0; syncs < 2; {
			results, err := pipeline.GetResults()
			switch result := results.(type) {
			case *pgconn.ResultReader:
				read := result.Read()
				for _, row := range read.Rows {
					seen = append(seen, string(row[0]))
				}
				seen = append(seen, told(read.Err))
			case *pgconn.PipelineSync:
				seen, syncs = append(seen, "sync"), syncs+1
			default:
				seen = append(seen, fmt.Sprintf("%T", results), told(err))
			}
		}
		return append(seen, told(pipeline.Close()))
	},
	"cancelled": func(ctx context.Context, _ *pgx.Conn) any {
		config, err := pgx.ParseConfig(dsn())
		must(err)
		var connection *pgx.Conn
		// The server is asked to cancel and the connection goes on; the default would close it.
		config.BuildContextWatcherHandler = func(made *pgconn.PgConn) ctxWatcher {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: made, DeadlineDelay: 20 * time.Second}
		}
		connection, err = pgx.ConnectConfig(ctx, config)
		must(err)
		limited, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		_, err = connection.Exec(limited, "SELECT pg_sleep(60)")
		var server *pgconn.PgError
		seen := []any{errors.As(err, &server) && server.Code == "57014", rows(ctx, connection, "SELECT 'alive'")}
		must(connection.Close(ctx))
		return seen
	},
	"notifications": func(ctx context.Context, _ *pgx.Conn) any {
		config, err := pgx.ParseConfig(dsn())
		must(err)
		notices := []string{}
		config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { notices = append(notices, notice.Message) }
		connection, err := pgx.ConnectConfig(ctx, config)
		must(err)
		for _, statement := range []string{"DO $$ BEGIN RAISE NOTICE 'one'; END $$", "LISTEN news", "NOTIFY news, 'hello'"} {
			_, err = connection.Exec(ctx, statement)
			must(err)
		}
		note, err := connection.WaitForNotification(ctx)
		must(err)
		must(connection.Close(ctx))
		return []any{notices, note.Channel, note.Payload}
	},
	"pool": func(ctx context.Context, _ *pgx.Conn) any {
		pool, err := pgxpool.New(ctx, dsn()+"&pool_max_conns=3&application_name=reports&statement_timeout=20000")
		must(err)
		defer pool.Close()
		answers := make(chan int, 30)
		for at := range 30 {
			go func() {
				var value int
				must(pool.QueryRow(ctx, "SELECT $1::int * 2", at).Scan(&value))
				answers <- value
			}()
		}
		values := []int{}
		for range 30 {
			values = append(values, <-answers)
		}
		sort.Ints(values)
		return values
	},
	"policy": func(ctx context.Context, connection *pgx.Conn) any {
		masked, seen := []any{}, map[string]any{}
		query := "SELECT name, ssn FROM people WHERE id = $1"
		for _, mode := range modes {
			for range 3 {
				masked = append(masked, rows(ctx, connection, query, mode, 1))
			}
			_, err := connection.Exec(ctx, "DELETE FROM people WHERE id = $1", mode, 1)
			var server *pgconn.PgError
			if errors.As(err, &server) {
				seen["denied in mode "+mode.String()] = []string{server.Code, server.Message}
			}
		}
		var count int
		must(connection.QueryRow(ctx, "SELECT count(*) FROM people").Scan(&count))
		seen["masked"], seen["after"] = masked, count
		return seen
	},
}

func main() {
	must(json.Unmarshal([]byte(os.Args[1]), &target))
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	wanted := os.Args[2:]
	if len(wanted) == 0 {
		for name := range scenes {
			if name != "policy" {
				wanted = append(wanted, name)
			}
		}
		sort.Strings(wanted)
	}
	results := map[string]any{}
	for _, name := range wanted {
		connection, err := pgx.Connect(ctx, dsn())
		must(err)
		results[name] = scenes[name](ctx, connection)
		must(connection.Close(ctx))
	}
	must(json.NewEncoder(os.Stdout).Encode(results))
}
