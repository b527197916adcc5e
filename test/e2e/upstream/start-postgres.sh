#!/bin/sh
# Makes a database in the pod's own folder and serves it over TLS alone, with SCRAM passwords.
set -eu
bin=/srv/postgres/native/bin
if [ ! -f /data/pg/PG_VERSION ]; then
  "$bin/initdb" -D /data/pg -U postgres --pwfile=/etc/upstream/superuser-password --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync
  printf 'CREATE DATABASE orders\n' | "$bin/postgres" --single -D /data/pg postgres
  "$bin/postgres" --single -j -D /data/pg orders < /etc/upstream/seed.sql
  echo 'hostssl all all all scram-sha-256' > /data/pg/pg_hba.conf
fi
exec "$bin/postgres" -D /data/pg \
  -c listen_addresses='*' -c unix_socket_directories= -c fsync=off -c max_connections=200 -c shared_buffers=16MB \
  -c ssl=on -c ssl_cert_file=/etc/upstream/tls.crt -c ssl_key_file=/etc/upstream/tls.key -c log_connections=on
