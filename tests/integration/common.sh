# shellcheck shell=bash disable=SC2034
# Shared by the integration suites; sourced, never run. SUITE is set before.
#
# VIREO      the program under test
# ASSETS     kernels and guest images: build/assets, whichever build is tested
# FIXTURES   what tests/integration/run has made for the suites
# SELECT     patterns of the tests to run, separated by spaces; empty: all
# RELOADS    how often a driver is loaded and removed under load, and
# KILLS      how often a disk's process is killed under load: few times, or with SOAK=1 in the environment many
# scale      how much longer than usual everything may take: sanitizers take their time, and so do many times

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
BUILD=$(realpath -m -- "$BUILD")
VIREO=$BUILD/vireo
ASSETS=$ROOT/build/assets
FIXTURES=$ROOT/build/integration
TOOLS=$ROOT/tests/integration
PATH=$PATH:/usr/sbin:/sbin
SELECT=${SELECT:-}
RELOADS=5 KILLS=3 scale=1
[ "$BUILD" = "$ROOT/build" ] || scale=3
if [ -n "${SOAK:-}" ]; then RELOADS=100 KILLS=50 scale=$((scale * 4)); fi
CLOUD=$ASSETS/kernel-cloud/vmlinuz

work=$(mktemp -d "${TMPDIR:-/tmp}/vireo-test.XXXXXX")
chmod 755 "$work"
trap 'rm -rf "$work"; [ "${RESULTS_OWNER:-}" != $$ ] || rm -f "$RESULTS"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# selected NAME: is it to be run?
selected() {
    local pattern -
    [ -n "$SELECT" ] || return 0
    set -f
    for pattern in $SELECT; do
        # shellcheck disable=SC2254
        case $1 in $pattern) return 0 ;; esac
    done
    return 1
}

pass() {
    ok "$SUITE/$1"
}

fail() {
    not_ok "$SUITE/$1" "$(reason "$2")"
}

# A reason is one line, and not a long one.
reason() {
    local text=${1//$'\n'/ | }
    [ ${#text} -le 600 ] || text="${text:0:300} ... ${text: -300}"
    printf '%s' "$text"
}

# same NAME FOUND WANTED
same() {
    if [ "$2" = "$3" ]; then
        pass "$1"
    else
        fail "$1" "'$2', not '$3'"
    fi
}

# like NAME FOUND EXTENDED-REGULAR-EXPRESSION
like() {
    if [[ $2 =~ $3 ]]; then
        pass "$1"
    else
        fail "$1" "'$2' is not like '$3'"
    fi
}

# succeeds NAME COMMAND...
succeeds() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        pass "$name"
    else
        fail "$name" "${1##*/}: $(tail -n 1 <<< "$output" | cut -c 1-300)"
    fi
}
