#!/bin/bash
# loki.sh install | start PORT DIR [LOKI-FLAG…] | stop DIR | kill DIR
#
# A real Loki, built once from its Go module (about 20 minutes on two cores; everything after that is a second).
# LOKI_AUTH=true asks for a tenant in X-Scope-OrgID. Limits are flags, like -distributor.ingestion-rate-limit-mb=0.01.
. "$(dirname "$0")/lib.sh"
VERSION=v3.7.8

build() {
  local to=$1 work source
  need go
  work=$(mktemp -d)
  (
    cd "$work"
    source=$(go mod download -json "github.com/grafana/loki/v3@$VERSION" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    install -m 644 "$source"/go.mod "$source"/go.sum "$source"/cmd/loki/main.go "$source"/cmd/loki/health.go .
    # Loki's own list of requirements with its replacements, under another name. `pkg/push` is not part of the module,
    # so the replacement by a folder goes and the published version takes its place.
    go mod edit -module=loki-for-tests -require="github.com/grafana/loki/v3@$VERSION" \
      -dropreplace=github.com/grafana/loki/pkg/push
    go build -mod=mod -tags netgo -ldflags "-s -w -X github.com/grafana/loki/v3/pkg/util/build.Version=${VERSION#v}" \
      -o "$to/loki" .
  )
  rm -rf "$work"
}

start() {
  local port=$1 dir=$2 grpc gossip; shift 2
  # A restart on the same folder keeps its port.
  [ "$port" != 0 ] || port=$(cat "$dir/port" 2>/dev/null || free_port)
  echo "$port" >"$dir/port"
  grpc=$(free_port)
  gossip=$(free_port)
  cat >"$dir/loki.yaml" <<Y
auth_enabled: ${LOKI_AUTH:-false}
target: all
analytics: {reporting_enabled: false}
server: {http_listen_address: 127.0.0.1, http_listen_port: $port, grpc_listen_address: 127.0.0.1, grpc_listen_port: $grpc, log_level: warn}
common:
  instance_addr: 127.0.0.1
  path_prefix: $dir/loki
  storage: {filesystem: {chunks_directory: $dir/loki/chunks, rules_directory: $dir/loki/rules}}
  replication_factor: 1
  ring: {kvstore: {store: inmemory}}
memberlist: {bind_addr: [127.0.0.1], bind_port: $gossip}
ingester:
  lifecycler: {min_ready_duration: 0s, final_sleep: 0s}
  wal: {enabled: true, dir: $dir/loki/wal, flush_on_shutdown: false}
query_range: {cache_results: false}
# Left at their 3 to 10 s these two keep /ready waiting for 10 s.
frontend: {max_outstanding_per_tenant: 2048, scheduler_dns_lookup_period: 200ms}
frontend_worker: {dns_lookup_duration: 200ms}
schema_config:
  configs: [{from: 2020-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}]
limits_config:
  allow_structured_metadata: true
  reject_old_samples: true
  reject_old_samples_max_age: 1w
  discover_log_levels: false
  max_label_names_per_series: 15
  max_line_size: 256KB
  max_entries_limit_per_query: 0
Y
  launch "$dir" "$CACHE/loki-$VERSION/loki" "-config.file=$dir/loki.yaml" "$@"
  ready() { exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /ready HTTP/1.0\r\n\r\n' >&3 && head -1 <&3 | grep -q ' 200 '; }
  await "$dir" 60 eval '(ready)' || fail "the server in $dir did not start"
  echo "http://127.0.0.1:$port" | tee "$dir/url"
}

case ${1:-} in
install) once "loki-$VERSION" build ;;
start) port=${2:?PORT}; dir=${3:?DIR}; shift 3; mkdir -p "$dir"; start "$port" "$(cd "$dir" && pwd)" "$@" ;;
stop) halt "${2:?DIR}" ;;
kill) halt "${2:?DIR}" KILL ;;
*) sed -n '2s/^# //p' "$0" >&2; exit 2 ;;
esac
