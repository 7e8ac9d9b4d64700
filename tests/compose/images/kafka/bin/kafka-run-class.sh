#!/bin/bash
# Starts a class of Kafka's jars, with the variables of Kafka's own script of this name.
set -euo pipefail

home=$(cd "$(dirname "$0")/.." && pwd)
libs=$home/libs
if [[ $1 == kafka.Kafka ]]; then
    heap=-Xmx1G log=$home/config/log4j2.yaml
    performance="-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExplicitGCInvokesConcurrent"
else
    # Commands live for a second: the quick compiler, and no garbage collector of many threads.
    heap=-Xmx256M log=/etc/kafka/docker/tools-log4j2.xml
    performance="-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
    # The broker's own classes, such as StorageTool, are of its release; the rest of the tools'.
    [[ $1 == kafka.* ]] || libs=$home/tools-libs
fi
logging=${KAFKA_LOG4J_OPTS:-"-Dlog4j2.configurationFile=$log"}
# Unquoted: each of these holds several options.
# shellcheck disable=SC2086
exec java ${KAFKA_HEAP_OPTS:-$heap} ${KAFKA_JVM_PERFORMANCE_OPTS:-$performance} \
    -Djava.awt.headless=true ${KAFKA_JMX_OPTS:-} $logging ${KAFKA_OPTS:-} \
    -cp "$libs/*" "$@"
