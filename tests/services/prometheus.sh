#!/bin/bash
# prometheus.sh install | start PORT DIR [HOST:PORT…] | stop DIR | kill DIR | check metrics
#
# A real Prometheus that scrapes the given addresses once a second; `check metrics` is promtool's, on standard input.
. "$(dirname "$0")/lib.sh"

package() { debian "$1" prometheus; }
found() { local at; for at in "$CACHE"/prometheus-*/usr/bin; do [ -x "$at/promtool" ] && { echo "$at"; return 0; }; done; return 1; }
start() {
  local port=$1 dir=$2 targets; shift 2
  [ "$port" != 0 ] || port=$(free_port)
  targets=$(printf "'%s'," "$@")
  cat >"$dir/prometheus.yml" <<Y
global: {scrape_interval: 1s, evaluation_interval: 1s}
scrape_configs:
- {job_name: pvetrail, static_configs: [{targets: [${targets%,}]}]}
Y
  launch "$dir" "$(found)/prometheus" "--config.file=$dir/prometheus.yml" "--storage.tsdb.path=$dir/tsdb" \
    "--web.listen-address=127.0.0.1:$port" "--web.console.templates=$dir" "--web.console.libraries=$dir"
  # It listens before it has read its own log; a request line is enough to learn that it is ready.
  ready() { exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /-/ready HTTP/1.0\r\n\r\n' >&3 && head -1 <&3 | grep -q ' 200 '; }
  await "$dir" 60 eval '(ready)' || fail "the server in $dir did not start"
  echo "http://127.0.0.1:$port" | tee "$dir/url"
}

case ${1:-} in
install) found >/dev/null || once "prometheus-$(candidate prometheus)" package ;;
start) port=${2:?PORT}; dir=${3:?DIR}; shift 3; mkdir -p "$dir"; start "$port" "$(cd "$dir" && pwd)" "$@" ;;
stop) halt "${2:?DIR}" ;;
kill) halt "${2:?DIR}" KILL ;;
check) shift; exec "$(found)/promtool" check "$@" ;;
*) sed -n '2s/^# //p' "$0" >&2; exit 2 ;;
esac
