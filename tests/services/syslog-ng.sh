#!/bin/bash
# syslog-ng.sh install | start PORT DIR | run CONFIG DIR [FLAG…] | stop DIR | kill DIR
#
# Debian's syslog-ng. `start` listens for octet-counted RFC 5424 on TCP, or on TLS with CERTS=FOLDER (server.crt, server.key, ca.crt),
# and writes what it gets to DIR/out.log as JSON, unless DIR/syslog-ng.conf is there already; `run` becomes the daemon
# itself, in the foreground, with its state in DIR.
. "$(dirname "$0")/lib.sh"

package() { debian "$1" syslog-ng-core syslog-ng-mod-add-contextual-data; }
found() { local at; for at in "$CACHE"/syslog-ng-*; do [ -x "$at/usr/sbin/syslog-ng" ] && { echo "$at"; return 0; }; done; return 1; }
# daemon CONFIG DIR: sets COMMAND to the daemon with the modules and libraries of the unpacked folder
daemon() {
  local root modules libraries
  root=$(found) || fail "not installed: run \"$0 install\""
  modules=$(dirname "$(find "$root/usr/lib" -name libaffile.so | head -1)")
  libraries=$(find "$root/usr/lib" "$root/lib" -maxdepth 3 -name "*.so*" -printf "%h\n" 2>/dev/null | sort -u | paste -sd:)
  VERSION=$(env "LD_LIBRARY_PATH=$libraries" "$root/usr/sbin/syslog-ng" --version --module-path="$modules" | sed -nE 's/^.*\(([0-9]+\.[0-9]+).*\)$/\1/p' | head -1)
  COMMAND=(env "LD_LIBRARY_PATH=$libraries" "$root/usr/sbin/syslog-ng" -F --stderr --no-caps
    -f "$1" --module-path="$modules" -R "$2/persist" -c "$2/ctl" -p "$2/syslog-ng.pid")
}
start() {
  local port=$1 dir=$2 transport=tcp tls=
  [ "$port" != 0 ] || port=$(free_port)
  daemon "$dir/syslog-ng.conf" "$dir"
  [ -z "${CERTS:-}" ] || transport=tls tls="tls(key-file(\"$CERTS/server.key\") cert-file(\"$CERTS/server.crt\") ca-file(\"$CERTS/ca.crt\") peer-verify(optional-untrusted))"
  [ -e "$dir/syslog-ng.conf" ] || cat >"$dir/syslog-ng.conf" <<C
@version: $VERSION
options { stats-freq(0); keep-hostname(yes); flush-lines(1); time-reopen(1); };
source net { syslog(ip("127.0.0.1") port($port) transport("$transport") $tls); };
destination file { file("$dir/out.log" template("\$(format-json --scope rfc5424 --pair ts=\$ISODATE --pair raw=\$RAWMSG)\n")); };
log { source(net); destination(file); };
C
  launch "$dir" "${COMMAND[@]}"
  await "$dir" 30 listens "$port" || fail "the server in $dir did not start"
  echo "tcp://127.0.0.1:$port" | tee "$dir/url"
}

case ${1:-} in
install) found >/dev/null || once "syslog-ng-$(candidate syslog-ng-core)" package ;;
start) port=${2:?PORT}; dir=${3:?DIR}; mkdir -p "$dir"; start "$port" "$(cd "$dir" && pwd)" ;;
run) config=${2:?CONFIG}; dir=${3:?DIR}; shift 3; daemon "$config" "$dir"; sed -i "s/@VERSION@/$VERSION/" "$config"; exec "${COMMAND[@]}" "$@" ;;
stop) halt "${2:?DIR}" ;;
kill) halt "${2:?DIR}" KILL ;;
*) sed -n '2s/^# //p' "$0" >&2; exit 2 ;;
esac
