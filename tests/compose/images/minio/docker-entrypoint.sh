#!/bin/bash
# `server /data` is short for `minio server /data`, as in the official image.
if [[ ${1:-} != minio ]]; then set -- minio "$@"; fi
exec "$@"
