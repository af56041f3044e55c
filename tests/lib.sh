# shellcheck shell=bash
# Shared by the test scripts: counting, the time there is, and the one format results are printed in.
#
# Each result is a line "ok NAME" or "not ok NAME: REASON". Scripts that run others add up through the file
# $RESULTS, which holds one such line per test, and lines "took SECONDS NAME". `finish` prints the closing line.
# $DEADLINE (in seconds since 1970), if set, is when all tests must have ended: what has not begun then fails.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$ROOT/build}
RESULTS=${RESULTS:-}
if [ -z "$RESULTS" ]; then
    RESULTS=$(mktemp)
    RESULTS_OWNER=$$
    trap 'rm -f "$RESULTS"' EXIT
fi
export RESULTS BUILD
# shellcheck disable=SC2034  # the scripts' word for what has not begun
TOO_LATE="not run: the time for all tests is over"

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
        return 1
    fi
}

# remaining MOST: how many seconds something may take, at most MOST; 0 when the time is over.
remaining() {
    local left=$1
    [ -z "${DEADLINE:-}" ] || [ $((DEADLINE - EPOCHSECONDS)) -ge "$left" ] || left=$((DEADLINE - EPOCHSECONDS))
    [ "$left" -gt 0 ] || left=0
    echo "$left"
}

too_late() {
    [ "$(remaining 1)" = 0 ]
}

# took SECONDS NAME: for the table of the slowest.
took() {
    echo "took $1 $2" >> "$RESULTS"
}

# at_once FUNCTION NAME...: calls it with each of them, as many at a time as there are processors, but no more than
# four; what each prints comes in one piece. (The function sees our variables: they have names of their own.)
at_once() {
    local at_once_function=$1 at_once_name at_once_said at_once_most
    shift
    at_once_most=$(nproc)
    [ "$at_once_most" -le 4 ] || at_once_most=4
    at_once_said=$(mktemp -d)
    for at_once_name; do
        while [ "$(jobs -rp | wc -l)" -ge "$at_once_most" ]; do wait -n; done
        {
            "$at_once_function" "$at_once_name" > "$at_once_said/${at_once_name##*/}" 2>&1
            cat "$at_once_said/${at_once_name##*/}"
        } &
    done
    wait
    rm -rf "$at_once_said"
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
