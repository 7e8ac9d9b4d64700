#!/bin/bash
# Makes the cluster at the first start, as the official image does, and then becomes `postgres`.
#
# POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB (each also as …_FILE), POSTGRES_INITDB_ARGS,
# POSTGRES_HOST_AUTH_METHOD, PGDATA and /docker-entrypoint-initdb.d/*.{sh,sql,sql.gz} mean what they
# mean there. A first start that fails half way leaves nothing that the next one would take for whole.
set -euo pipefail

if [[ ${1:-} == -* ]]; then set -- postgres "$@"; fi
if [[ ${1:-} != postgres ]]; then exec "$@"; fi

if [[ $(id -u) == 0 ]]; then
    mkdir -p "$PGDATA"
    chown -R postgres:postgres "$PGDATA" "$(dirname "$PGDATA")"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

# given NAME DEFAULT: the variable's value, or that of the file which NAME_FILE names.
given() {
    local file="$1_FILE"
    if [[ -n ${!file:-} ]]; then cat "${!file}"; else printf '%s' "${!1:-$2}"; fi
}

initialise() {
    local user password database method
    user=$(given POSTGRES_USER postgres)
    password=$(given POSTGRES_PASSWORD '')
    database=$(given POSTGRES_DB "$user")
    method=$(given POSTGRES_HOST_AUTH_METHOD scram-sha-256)
    if [[ -z $password && $method != trust ]]; then
        echo "POSTGRES_PASSWORD is empty: the database can't be made without a superuser password" >&2
        exit 1
    fi
    # `read` splits the arguments as a shell would those of a person, without running any of them.
    local -a arguments=()
    read -r -a arguments <<< "${POSTGRES_INITDB_ARGS:-}"
    find "$PGDATA" -mindepth 1 -delete
    touch "$draft"
    initdb --username="$user" --pwfile=<(printf '%s\n' "$password") "${arguments[@]}" --no-instructions
    printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"

    # Over the socket alone: nobody outside sees a server that isn't whole yet.
    pg_ctl --silent --wait -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start
    local -a psql=(psql -v ON_ERROR_STOP=1 --quiet --no-psqlrc --host=/tmp --username="$user")
    export PGPASSWORD=$password
    if [[ $database != postgres ]]; then
        "${psql[@]}" --dbname=postgres -v name="$database" <<< 'CREATE DATABASE :"name";'
    fi
    psql+=(--dbname="$database")
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
            *.sh) echo "running $script"; PGHOST=/tmp bash -eu "$script" ;;
            *.sql) echo "running $script"; "${psql[@]}" --file="$script" ;;
            *.sql.gz) echo "running $script"; gunzip --stdout "$script" | "${psql[@]}" ;;
        esac
    done
    unset PGPASSWORD
    pg_ctl --silent --wait --mode=fast stop
    rm "$draft"
}

mkdir -p "$PGDATA"
chmod 0700 "$PGDATA"
# There as long as the cluster isn't whole: a start that was killed half way begins anew.
draft=$(dirname "$PGDATA")/.draft
if [[ -e $draft || ! -s $PGDATA/PG_VERSION ]]; then initialise; fi
exec "$@"
