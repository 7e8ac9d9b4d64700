#!/bin/sh
# Gives the process a folder of its own for temporary files, and deletes those of processes that are
# gone: one that was killed had no time to.
#
# Several containers may share the volume. Whose folder is in use tells the lock in it, which the
# process inherits and the kernel frees when it ends, however it ends. The folders' own lock keeps one
# that was just made from being taken for left behind.
set -eu

shared=${SCRATCH_DIR:-/scratch}
exec 8>"$shared/.lock"
flock 8
for folder in "$shared"/*/; do
    [ -d "$folder" ] || continue
    if flock --nonblock "$folder.lock" true; then rm -rf "$folder"; fi
done
own=$(mktemp -d "$shared/XXXXXXXXXX")
exec 9>"$own/.lock"
flock 9
exec 8>&-
export TMPDIR="$own"
exec "$@"
