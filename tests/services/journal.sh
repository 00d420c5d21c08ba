#!/usr/bin/env bash
# Real journal files without a running systemd: Debian's systemd-journal-remote turns the export format into them.
#   install
#   write DIR FILE   appends what stands in FILE (export format) to DIR/system.journal
#   rotate DIR       the journal is archived, and the next write begins a new file
#   vacuum DIR       archived files are deleted, as journald does when room or time is up
. "$(dirname "$0")/lib.sh"

fill() { need journalctl; debian "$1" systemd-journal-remote; }
folder() { echo "systemd-journal-remote-$(candidate systemd-journal-remote)"; }
remote() {
  local at=$CACHE/$(folder)
  LD_LIBRARY_PATH=$at/lib/systemd:$at/usr/lib/x86_64-linux-gnu/systemd:$at/usr/lib/x86_64-linux-gnu:$at/lib/x86_64-linux-gnu \
    "$at/lib/systemd/systemd-journal-remote" "$@"
}

case ${1:-} in
install) once "$(folder)" fill ;;
write) mkdir -p "$2"; remote -o "$2/system.journal" "$3" ;;
rotate) mv "$2/system.journal" "$2/system@$(date +%s%N).journal" ;;
vacuum) journalctl --quiet --directory="$2" --vacuum-files=1 2>/dev/null || true; rm -f "$2"/system@*.journal ;;
*) fail "install | write DIR FILE | rotate DIR | vacuum DIR" ;;
esac
