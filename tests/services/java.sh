# What the two Java servers share: compiling the small class that embeds the real node, class-data archives, starting.
# Sourced after lib.sh.

# compile FOLDER SOURCE: SOURCE against FOLDER/lib, into FOLDER/node.jar (a folder on the class path would forbid archives)
compile() {
  javac -nowarn -proc:none --release 17 -cp "$1/lib/*" -d "$1/classes" "$2"
  jar cf "$1/node.jar" -C "$1/classes" .
}

# The log goes to standard output, which is DIR/log.
log4j() {
  cat <<'L'
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %-5p [%c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
L
}

# node PORT DIR MAIN CLASSPATH ARCHIVE SETTING…: starts it and waits until DIR/url is there.
# HEAP (512m) is the JVM's; a SETTING is key=value. With TRAIN=1 the run writes ARCHIVE instead of using it: the next
# start then takes seconds.
node() {
  local port=$1 dir=$2 main=$3 classpath=$4 archive=$5 heap=${HEAP:-512m} share=(); shift 5
  mkdir -p "$dir/config" "$dir/logs" "$dir/tmp"
  dir=$(cd "$dir" && pwd)
  if mine "$dir" >/dev/null && [ -e "$dir/url" ]; then cat "$dir/url"; return 0; fi
  rm -f "$dir/url"
  log4j >"$dir/config/log4j2.properties"
  if [ -n "${TRAIN:-}" ]; then share=("-XX:ArchiveClassesAtExit=$archive")
  elif [ -e "$archive" ]; then share=("-XX:SharedArchiveFile=$archive"); fi
  launch "$dir" java "-Xms$heap" "-Xmx$heap" -XX:+UseSerialGC -Xshare:auto "${share[@]}" \
    "-Djava.io.tmpdir=$dir/tmp" -Dlog4j2.disable.jmx=true "-Dlog4j.configurationFile=$dir/config/log4j2.properties" \
    --add-opens=java.base/java.nio=ALL-UNNAMED -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true \
    -cp "$classpath" "$main" "$dir/url" "path.home=$dir" cluster.name=test node.name=node-1 \
    discovery.type=single-node network.host=127.0.0.1 "http.port=$port" transport.port=0 \
    cluster.routing.allocation.disk.threshold_enabled=false "$@"
  await "$dir" 180 test -e "$dir/url" || fail "the server in $dir did not start"
  cat "$dir/url"
}

# train ARCHIVE COMMAND…: one start and stop that writes the class-data archive; without it a start is only slower
train() {
  local archive=$1 dir; shift
  [ ! -e "$archive" ] || return 0
  dir=$(mktemp -d)
  if TRAIN=1 "$@" 0 "$dir" >/dev/null; then
    halt "$dir"
  else
    rm -f "$archive"
    fail "the server does not start; its log is $dir/log"
  fi
  rm -rf "$dir"
}
