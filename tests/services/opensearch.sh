#!/bin/bash
# opensearch.sh install [security] | start PORT DIR [KEY=VALUE…] | stop DIR | kill DIR
#
# One real OpenSearch node from its jars. SECURITY=1 at start: TLS, users admin/admin (everything) and writer/writer (may
# write pve-* and nothing else); DIR/config then holds ca.pem, and client.pem with client.key for the user "writer".
. "$(dirname "$0")/lib.sh"
. "$HERE/java.sh"
VERSION=2.19.4
NAME=opensearch-$VERSION
HOME_=$CACHE/$NAME
SECURED=$CACHE/$NAME-security

plain() {
  local module modules=(transport-netty4-client reindex-client mapper-extras-client parent-join-client
    percolator-client rank-eval-client aggs-matrix-stats-client lang-mustache-client lang-painless analysis-common ingest-common)
  maven "$1/lib" "org.opensearch:opensearch:$VERSION" \
    $(for module in "${modules[@]}"; do echo "org.opensearch.plugin:$module:$VERSION"; done) \
    org.apache.logging.log4j:log4j-api:2.21.0 org.apache.logging.log4j:log4j-core:2.21.0
  compile "$1" "$HERE/opensearch/TestNode.java"
}
secured() (
  need mvn openssl
  # The goal leaves a mark of what it has unpacked in the current folder, and would skip it the next time.
  cd "$(mktemp -d)"
  mvn -B -q "$MAVEN_DEPENDENCY:unpack" "-Dartifact=org.opensearch.plugin:opensearch-security:$VERSION.0:zip" "-DoutputDirectory=$1"
  rm -rf "$PWD"
)

# A CA, the node's certificate for 127.0.0.1 and localhost, a client's; all keys PKCS#8, as the plugin wants them.
certificates() {
  local key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes) days=3650 who use
  openssl req -x509 "${key[@]}" -keyout ca.key -out ca.pem -days $days -subj /CN=test-ca \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
  for who in node writer; do
    use=clientAuth; [ $who = writer ] || use=serverAuth,clientAuth
    openssl req "${key[@]}" -keyout $who.key -out $who.csr -subj "/CN=$who"
    openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days $days -out $who.pem \
      -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=%s\nbasicConstraints=CA:FALSE\n' $use)
  done
  mv writer.key client.key; mv writer.pem client.pem; rm -f ./*.csr
}

# The plugin's own files: how it asks for users, who they are, what they may.
rules() {
  local to=$1 kind
  hash() { java -cp "$SECURED/*:$HOME_/lib/*" org.opensearch.security.tools.Hasher -p "$1" 2>/dev/null | tail -1; }
  for kind in config:config internalusers:internal_users roles:roles rolesmapping:roles_mapping \
    actiongroups:action_groups tenants:tenants nodesdn:nodes_dn whitelist:whitelist allowlist:allowlist; do
    printf '_meta: {type: "%s", config_version: 2}\n' "${kind%:*}" >"$to/${kind#*:}.yml"
  done
  cat >>"$to/config.yml" <<'Y'
config:
  dynamic:
    http: {anonymous_auth_enabled: false}
    authc:
      certificate:
        http_enabled: true
        transport_enabled: false
        order: 0
        http_authenticator: {type: clientcert, challenge: false, config: {username_attribute: cn}}
        authentication_backend: {type: noop}
      password:
        http_enabled: true
        transport_enabled: true
        order: 1
        http_authenticator: {type: basic, challenge: true}
        authentication_backend: {type: internal}
Y
  printf 'admin: {hash: "%s", backend_roles: ["admin"]}\nwriter: {hash: "%s"}\n' "$(hash admin)" "$(hash writer)" >>"$to/internal_users.yml"
  cat >>"$to/roles.yml" <<'Y'
write_pve:
  cluster_permissions: ["cluster_monitor", "indices:data/write/bulk"]
  index_permissions:
  - {index_patterns: ["pve-*"], allowed_actions: ["create_index", "index", "indices:admin/mapping/put"]}
Y
  printf 'all_access: {backend_roles: ["admin"]}\nwrite_pve: {users: ["writer"]}\n' >>"$to/roles_mapping.yml"
}

start() {
  local port=$1 dir=$2 settings=() layer classpath=$HOME_/node.jar:$HOME_/lib/* archive=$HOME_/classes.jsa; shift 2
  if [ -n "${SECURITY:-}" ]; then
    classpath="$classpath:$SECURED/*" archive=$SECURED/classes.jsa
    mkdir -p "$dir/config/opensearch-security"
    if [ ! -e "$dir/config/node.pem" ]; then
      (cd "$dir/config" && certificates) >/dev/null 2>"$dir/certificates.log" || fail "no certificates: $(tail -3 "$dir/certificates.log")"
      rules "$dir/config/opensearch-security"
    fi
    settings=(plugins.security.ssl.http.enabled=true plugins.security.ssl.http.clientauth_mode=OPTIONAL
      plugins.security.ssl.transport.enforce_hostname_verification=false plugins.security.allow_default_init_securityindex=true
      plugins.security.nodes_dn.0=CN=node plugins.security.authcz.admin_dn.0=CN=nobody)
    for layer in transport http; do
      settings+=("plugins.security.ssl.$layer.pemcert_filepath=node.pem" "plugins.security.ssl.$layer.pemkey_filepath=node.key"
        "plugins.security.ssl.$layer.pemtrustedcas_filepath=ca.pem")
    done
  fi
  node "$port" "$dir" TestNode "$classpath" "$archive" "${settings[@]}" "$@"
}

case ${1:-} in
install)
  need java
  once "$NAME" plain
  train "$HOME_/classes.jsa" start
  if [ "${2:-}" = security ]; then
    once "$NAME-security" secured
    SECURITY=1 train "$SECURED/classes.jsa" start
  fi ;;
start) port=${2:?PORT}; dir=${3:?DIR}; shift 3; mkdir -p "$dir"; start "$port" "$(cd "$dir" && pwd)" "$@" ;;
stop) halt "${2:?DIR}" ;;
kill) halt "${2:?DIR}" KILL ;;
*) sed -n '2s/^# //p' "$0" >&2; exit 2 ;;
esac
