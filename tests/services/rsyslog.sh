#!/bin/bash
# rsyslog.sh install | start PORT DIR | run CONFIG [FLAG…] | stop DIR | kill DIR
#
# Debian's rsyslog with imfile, imtcp, mmnormalize, omelasticsearch, TLS and RELP. `start` listens on TCP and writes
# what it gets to DIR/out.log as JSON, unless DIR/rsyslog.conf is there already; `run` becomes the daemon itself, in the
# foreground, for whoever wants to measure it.
. "$(dirname "$0")/lib.sh"

package() { debian "$1" rsyslog rsyslog-gnutls rsyslog-openssl rsyslog-elasticsearch rsyslog-relp liblognorm-utils; }
found() { local at; for at in "$CACHE"/rsyslog-*; do [ -x "$at/usr/sbin/rsyslogd" ] && { echo "$at"; return 0; }; done; return 1; }
# daemon: sets COMMAND to the daemon with the modules and libraries of the unpacked folder
daemon() {
  local root modules
  root=$(found) || fail "not installed: run \"$0 install\""
  modules=$(dirname "$(find "$root/usr/lib" -name imtcp.so | head -1)")
  COMMAND=(env "LD_LIBRARY_PATH=$(dirname "$modules")" "$root/usr/sbin/rsyslogd" -n -M "$modules")
}
start() {
  local port=$1 dir=$2
  [ "$port" != 0 ] || port=$(free_port)
  [ -e "$dir/rsyslog.conf" ] || cat >"$dir/rsyslog.conf" <<C
global(workDirectory="$dir" maxMessageSize="64k")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="$port")
template(name="json" type="list" option.jsonf="on") {
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}
action(type="omfile" file="$dir/out.log" template="json")
C
  daemon
  launch "$dir" "${COMMAND[@]}" -f "$dir/rsyslog.conf" -i "$dir/rsyslogd.pid"
  await "$dir" 30 listens "$port" || fail "the server in $dir did not start"
  echo "tcp://127.0.0.1:$port" | tee "$dir/url"
}

case ${1:-} in
install) found >/dev/null || once "rsyslog-$(candidate rsyslog)" package ;;
start) port=${2:?PORT}; dir=${3:?DIR}; mkdir -p "$dir"; start "$port" "$(cd "$dir" && pwd)" ;;
run) config=${2:?CONFIG}; shift 2; daemon; exec "${COMMAND[@]}" -f "$config" "$@" ;;
stop) halt "${2:?DIR}" ;;
kill) halt "${2:?DIR}" KILL ;;
*) sed -n '2s/^# //p' "$0" >&2; exit 2 ;;
esac
