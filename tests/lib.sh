# Shared by the test scripts: counting, and the one format results are printed in.
#
# Each result is a line "ok NAME" or "not ok NAME: REASON". Scripts that run others add up through the file
# $RESULTS, which holds one such line per test. `finish` prints the closing line.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$ROOT/build}
RESULTS=${RESULTS:-}
if [ -z "$RESULTS" ]; then
    RESULTS=$(mktemp)
    RESULTS_OWNER=$$
    trap 'rm -f "$RESULTS"' EXIT
fi
export RESULTS BUILD

ok() {
    echo "ok $1" | tee -a "$RESULTS"
}

not_ok() {
    echo "not ok $1: $2" | tee -a "$RESULTS"
}

# check NAME COMMAND...: the command's success is the test; its output is shown when it fails.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        ok "$name"
    else
        not_ok "$name" "$1 failed"
        printf '%s\n' "$output" | tail -n 60 | sed 's/^/    /'
    fi
}

# The closing line, and success only when nothing failed and something ran.
finish() {
    local passed failed
    [ "${RESULTS_OWNER:-}" = $$ ] || return 0
    passed=$(grep -c '^ok ' "$RESULTS" || true)
    failed=$(grep -c '^not ok ' "$RESULTS" || true)
    if [ "$failed" -gt 0 ]; then
        echo
        grep '^not ok ' "$RESULTS"
    fi
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
