package main

import "github.com/jackc/pgx/v5/pgconn/ctxwatch"

// ctxWatcher is what a connection is told of a context that ends while it waits.
type ctxWatcher = ctxwatch.Handler
