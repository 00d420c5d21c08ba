#!/bin/bash
# alertmanager.sh install | start PORT DIR [URL [TOKEN]] | stop DIR | kill DIR
#
# A real Alertmanager that groups alerts by their name and tells them to URL, with TOKEN as bearer, resolved ones too.
. "$(dirname "$0")/lib.sh"

package() { debian "$1" prometheus-alertmanager; }
found() { local at; for at in "$CACHE"/alertmanager-*; do [ -x "$at/usr/bin/prometheus-alertmanager" ] && { echo "$at"; return 0; }; done; return 1; }
start() {
  local port=$1 dir=$2 url=${3:-http://127.0.0.1:9/} token=${4:-none} root spaces=-m
  root=$(found) || fail "not installed: run \"$0 install\""
  [ "$port" != 0 ] || port=$(free_port)
  cat >"$dir/alertmanager.yml" <<Y
route: {receiver: hook, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}
receivers:
- name: hook
  webhook_configs: [{url: '$url', send_resolved: true, http_config: {authorization: {credentials: '$token'}}}]
Y
  # Debian's build reads its templates from /usr/share and nowhere else: it is shown them in a mount namespace of its own.
  [ "$(id -u)" = 0 ] || spaces=-rm
  # Without an address for gossip no second port is bound.
  launch "$dir" unshare $spaces bash -c 's=$1; shift; mount -t overlay overlay -o "lowerdir=$s:/usr/share" /usr/share; exec "$@"' _ \
    "$root/usr/share" "$root/usr/bin/prometheus-alertmanager" "--config.file=$dir/alertmanager.yml" "--storage.path=$dir/data" \
    "--web.listen-address=127.0.0.1:$port" --cluster.listen-address=
  ready() { exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /-/ready HTTP/1.0\r\n\r\n' >&3 && head -1 <&3 | grep -q ' 200 '; }
  await "$dir" 30 eval '(ready)' || fail "the server in $dir did not start"
  echo "http://127.0.0.1:$port" | tee "$dir/url"
}

case ${1:-} in
install) found >/dev/null || once "alertmanager-$(candidate prometheus-alertmanager)" package ;;
start) port=${2:?PORT}; dir=${3:?DIR}; shift 3; mkdir -p "$dir"; start "$port" "$(cd "$dir" && pwd)" "$@" ;;
stop) halt "${2:?DIR}" ;;
kill) halt "${2:?DIR}" KILL ;;
*) sed -n '2s/^# //p' "$0" >&2; exit 2 ;;
esac
