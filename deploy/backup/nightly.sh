#!/bin/sh
# Makes a backup each night at BACKUP_AT (HH:MM, UTC), keeps the newest BACKUP_KEEP, and makes one at once where there is
# none of today. `nightly.sh check` fails where the newest is older than 26 hours.
set -eu
folder=${BACKUP_FOLDER:-/var/backups/interlock}

has_backup_of_minutes() { [ -n "$(find "$folder" -maxdepth 1 -type f -name 'interlock-*.tar.gz' -mmin "-$1")" ]; }

# In the background, so that a signal ends it at once.
child=
run() {
    "$@" &
    child=$!
    wait "$child"
}

stop() {
    [ -z "$child" ] || kill "$child" 2> /dev/null || true
    wait
    exit 0
}

back_up() {
    until run interlock backup "$folder" --keep "$BACKUP_KEEP" --include /run/secrets --include "$INTERLOCK_CONFIGS"; do
        echo "no backup was made; the next attempt is in five minutes" >&2
        run sleep 300
    done
}

if [ "${1:-}" = check ]; then
    has_backup_of_minutes 1560
    exit
fi

trap stop TERM INT
at=$(date --utc --date "1970-01-01 $BACKUP_AT" +%s)
has_backup_of_minutes 1440 || back_up
while true; do
    run sleep "$((86400 - ($(date +%s) - at) % 86400))"
    back_up
done
