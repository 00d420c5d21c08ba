# What the server scripts share. Sourced by them, never run.
#
# Every script answers: install | start PORT DIR [ARG…] | stop DIR | kill DIR
#   install   puts the server into the user's cache folder, once; later calls return at once
#   start     PORT 0 picks a free one; DIR holds data, log, pid and url; prints the url when the server answers
#   stop      asks the server to end, waits, then insists; kill is `kill -9`, for tests of crashes
# OWNER=PID ends the server when that process is gone, so a test that dies leaves nothing running.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/pvetrail
mkdir -p "$CACHE"

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }
need() { local word; for word; do command -v "$word" >/dev/null || fail "needs \"$word\", which this machine lacks"; done; }

# once FOLDER FUNCTION: FUNCTION fills the folder it is given; the finished one appears in the cache in one step,
# and two callers at once do the work once.
once() {
  local to=$CACHE/$1 lock
  [ ! -e "$to" ] || return 0
  need flock
  exec {lock}>"$CACHE/.$1.lock"
  flock "$lock"
  if [ ! -e "$to" ]; then
    local part; part=$(mktemp -d "$CACHE/.$1.XXXXXX")
    "$2" "$part" >&2 || { rm -rf "$part"; fail "could not install $1"; }
    mv "$part" "$to"
  fi
  exec {lock}>&-
}

# The time a process started, in ticks: with it a pid that was given to another process is not mistaken for ours.
born() { sed -E 's/^.*\) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
# A zombie that nobody has reaped yet is gone as far as a test is concerned.
runs() { grep -Eqs '^State:[[:space:]]+[A-WY]' "/proc/$1/status"; }
mine() { # mine DIR: says the pid of the server started there, if it still runs
  local pid since
  read -r pid since 2>/dev/null <"$1/pid" || return 1
  runs "$pid" && [ "$(born "$pid")" = "$since" ] && echo "$pid"
}

# launch DIR COMMAND…: detached, output into DIR/log
launch() {
  local dir=$1 pid; shift
  setsid "$@" >>"$dir/log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(born "$pid")" >"$dir/pid"
  if [ -n "${OWNER:-}" ]; then
    setsid bash -c 'while kill -0 "$1" 2>/dev/null && kill -0 "$2" 2>/dev/null; do sleep 1; done; kill "$2" 2>/dev/null' \
      watch "$OWNER" "$pid" >/dev/null 2>&1 </dev/null &
  fi
}

# await DIR SECONDS COMMAND…: until COMMAND succeeds; fails at once when the server dies
await() {
  local dir=$1 end=$((SECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    mine "$dir" >/dev/null || { tail -n 20 "$dir/log" >&2; return 1; }
    [ "$SECONDS" -lt "$end" ] || { tail -n 20 "$dir/log" >&2; return 1; }
    sleep 0.05
  done
}

# halt DIR [SIGNAL]
halt() {
  local pid
  pid=$(mine "$1") || { rm -f "$1/pid" "$1/url"; return 0; }
  kill -"${2:-TERM}" "$pid" 2>/dev/null || true
  for _ in $(seq 600); do runs "$pid" || break; sleep 0.05; done
  ! runs "$pid" || kill -9 "$pid" 2>/dev/null || true
  rm -f "$1/pid" "$1/url"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# A port nothing listens on, below the range the kernel hands out for outgoing connections.
free_port() {
  local port
  for _ in $(seq 200); do
    port=$((15000 + (RANDOM * 32768 + RANDOM) % 15000))
    listens "$port" || { echo "$port"; return 0; }
  done
  fail "no free port"
}

# The version apt would install, with what a folder name should not hold left out.
candidate() { fresh_lists; apt-cache policy "$1" | sed -nE 's/^ *Candidate: ([0-9.]+).*/\1/p' | grep . || fail "Debian's lists do not know \"$1\""; }
# Lists younger than a day are good enough.
fresh_lists() { find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mtime -1 2>/dev/null | grep -q . || apt-get update -qq; }
# debian FOLDER PACKAGE…: unpacks packages, and what they depend on that this machine lacks, below FOLDER. Nothing is
# installed: no conflicts (rsyslog and syslog-ng exclude each other), no daemons, no scripts of maintainers.
debian() {
  local to=$1 package; shift
  need apt-get dpkg
  mkdir -p "$to/.debs"
  (
    cd "$to/.debs"
    fresh_lists
    apt-get -s -o Debug::NoLocking=1 install --no-install-recommends "$@" |
      sed -nE 's/^Inst ([^ ]+) (\[[^]]*\] )?\(([^ ]+) .*/\1=\3/p' | sort -u >list
    # What was asked for is unpacked even where the machine has it.
    for package; do grep -q "^$package=" list || echo "$package" >>list; done
    xargs -a list apt-get -o Debug::NoLocking=1 -qq download
    for package in *.deb; do dpkg -x "$package" "$to"; done
  )
  rm -rf "$to/.debs"
}

# maven FOLDER GROUP:ARTIFACT:VERSION…: these jars and all they need at run time, into FOLDER
maven() {
  local to=$1 project what; shift
  need mvn javac
  project=$(mktemp -d)
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>pvetrail.tests</groupId><artifactId>server</artifactId><version>1</version><dependencies>'
    for what; do
      IFS=: read -r group artifact version <<<"$what"
      echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
    done
    echo '</dependencies></project>'
  } >"$project/pom.xml"
  mvn -B -q -f "$project/pom.xml" "$MAVEN_DEPENDENCY:copy-dependencies" -DincludeScope=runtime "-DoutputDirectory=$to"
  rm -rf "$project"
}
MAVEN_DEPENDENCY=org.apache.maven.plugins:maven-dependency-plugin:3.6.1
