#!/bin/bash
# nats.sh install | start PORT DIR [NATS-FLAG…] | stop DIR | kill DIR
#
# A real nats-server with JetStream: the newest by its Go module, or with DEBIAN=1 the oldest that we promise, Debian's.
# `start` takes further flags of the server, like --user, --auth, --tls or -c with a configuration of one's own. Its
# monitoring port is in DIR/monitor. A restart on the same folder keeps both ports.
. "$(dirname "$0")/lib.sh"
VERSION=v2.15.2

newest() { need go; GOBIN=$1 GOFLAGS=-mod=mod go install "github.com/nats-io/nats-server/v2@$VERSION"; }
floor() { debian "$1" nats-server; }
binary() {
  if [ -z "${DEBIAN:-}" ]; then echo "$CACHE/nats-$VERSION/nats-server"; return; fi
  local at
  for at in "$CACHE"/nats-debian-*; do [ -x "$at/usr/sbin/nats-server" ] && { echo "$at/usr/sbin/nats-server"; return; }; done
  fail "not installed: run \"$0 install\""
}
start() {
  local port=$1 dir=$2 monitor; shift 2
  [ "$port" != 0 ] || port=$(cat "$dir/port" 2>/dev/null || free_port)
  monitor=$(cat "$dir/monitor" 2>/dev/null || free_port)
  echo "$port" >"$dir/port"; echo "$monitor" >"$dir/monitor"
  launch "$dir" "$(binary)" -a 127.0.0.1 -p "$port" -m "$monitor" -js -sd "$dir/store" "$@"
  healthy() { exec 3<>"/dev/tcp/127.0.0.1/$monitor" && printf 'GET /healthz HTTP/1.0\r\n\r\n' >&3 && head -1 <&3 | grep -q ' 200 '; }
  await "$dir" 30 eval '(healthy)' || fail "the server in $dir did not start"
  echo "nats://127.0.0.1:$port" | tee "$dir/url"
}

case ${1:-} in
install)
  once "nats-$VERSION" newest
  if [ -n "${DEBIAN:-}" ] || [ "${2:-}" = debian ]; then DEBIAN=1; (binary) >/dev/null 2>&1 || once "nats-debian-$(candidate nats-server)" floor; fi ;;
start) port=${2:?PORT}; dir=${3:?DIR}; shift 3; mkdir -p "$dir"; start "$port" "$(cd "$dir" && pwd)" "$@" ;;
stop) halt "${2:?DIR}" ;;
kill) halt "${2:?DIR}" KILL ;;
*) sed -n '2s/^# //p' "$0" >&2; exit 2 ;;
esac
