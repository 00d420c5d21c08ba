#!/bin/bash
# elasticsearch.sh install | start PORT DIR [KEY=VALUE…] | stop DIR | kill DIR
#
# One real Elasticsearch node from its jars, without its commercial parts: no users, no TLS, no lifecycle API.
. "$(dirname "$0")/lib.sh"
. "$HERE/java.sh"
VERSION=8.19.4
NAME=elasticsearch-$VERSION
HOME_=$CACHE/$NAME

plain() {
  maven "$1/lib" "org.elasticsearch:elasticsearch:$VERSION" "org.elasticsearch.plugin:transport-netty4:$VERSION" \
    org.apache.logging.log4j:log4j-core:2.19.0
  compile "$1" "$HERE/elasticsearch/org/elasticsearch/node/TestNode.java"
}
start() {
  local port=$1 dir=$2; shift 2
  node "$port" "$dir" org.elasticsearch.node.TestNode "$HOME_/node.jar:$HOME_/lib/*" "$HOME_/classes.jsa" "$@"
}

case ${1:-} in
install)
  need java
  once "$NAME" plain
  train "$HOME_/classes.jsa" start ;;
start) port=${2:?PORT}; dir=${3:?DIR}; shift 3; mkdir -p "$dir"; start "$port" "$(cd "$dir" && pwd)" "$@" ;;
stop) halt "${2:?DIR}" ;;
kill) halt "${2:?DIR}" KILL ;;
*) sed -n '2s/^# //p' "$0" >&2; exit 2 ;;
esac
