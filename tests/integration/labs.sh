# shellcheck shell=bash disable=SC2154
# Emulated machines that share the cases of the suites with guests; sourced by tests/integration/run.
#
# The directory $POOL is the same in all of them: $POOL/claims has a link for each case that was begun, to the number
# of the machine, $POOL/N/done names those that have ended in machine N, $POOL/N/hung those that have hung there once,
# and $POOL/N/results has their results (guest.sh writes these).

# Seconds after which a machine is stopped in which no case has ended: longer than any case may take.
longest_case() {
    local seconds=480
    [ "$BUILD" = "$ROOT/build" ] || seconds=1440
    [ -z "${SOAK:-}" ] || seconds=$((seconds * 4))
    echo "${PATIENCE:-$seconds}"
}

# watch PID N: waits for machine N, and stops it when no case has ended for too long.
watch() {
    local longest
    longest=$(longest_case)
    while kill -0 "$1" 2> /dev/null; do
        [ $((EPOCHSECONDS - $(stat -c %Y "$POOL/$2/done"))) -lt "$longest" ] || kill -TERM "$1"
        sleep 1
    done
    wait "$1"
}

# blame N: the case that machine N did not end is its next one's first; if it was that before, it has failed.
blame() {
    local link name
    for link in "$POOL/claims"/*; do
        [ "$(readlink "$link")" = "$1" ] || continue
        name=${link##*/} name=${name/.//}
        ! grep -qx "$name" "$POOL/$1/done" || continue
        if grep -qx "$name" "$POOL/$1/hung"; then
            RESULTS=$POOL/$1/results not_ok "$name" "two machines ended or hung in it"
            echo "took 0 $name" >> "$POOL/$1/results"
            echo "$name" >> "$POOL/$1/done"
        else
            echo "$name" >> "$POOL/$1/hung"
        fi
    done
}

# machine N: cases that nobody has begun, until there are none left. QEMU's emulation of nested virtualization is not
# perfect: now and then such a machine crashes or hangs, or the guests in it do. Another one then takes over, but not
# for a third time before a case has ended.
machine() {
    local out=$POOL/$1 status=0 attempt=0 left ended
    mkdir "$out"
    : > "$out/done"
    : > "$out/hung"
    while [ $attempt -lt 3 ] && left=$(remaining 86400) && [ "$left" -gt 0 ]; do
        ended=$(wc -l < "$out/done")
        touch "$out/done"
        LAB_OUT=$POOL lab run --cpus 1 --memory 8G --timeout "$left" --env "BUILD=$BUILD" --env "RESULTS=$out/results" \
            --env "POOL=$POOL" --env "MACHINE=$1" --env DEADLINE --env SOAK --env JOBS --env "KEEP=${KEEP:+$out/keep}" \
            -- "$HERE/run" --bare "${arguments[@]}" 2> "$out/log" < /dev/null &
        status=0
        watch $! "$1" || status=$?
        [ $status -gt 1 ] || break
        echo "# machine $1: status $status after $(wc -l < "$out/done") cases: $(head -n 1 "$out/log")"
        [ $status = 3 ] || blame "$1"
        attempt=$((attempt + 1))
        [ "$(wc -l < "$out/done")" = "$ended" ] || attempt=1
    done
}

in_labs() {
    local n i machines=()
    n=$(printf '%s\n' 4 "$(nproc)" "$(chosen | wc -l)" | sort -n | head -n 1)
    echo "# this host's KVM does not run stock kernels: guests run in machines that have a complete one ($n)"
    mkdir "$POOL/claims"
    # So that not all make what they boot.
    lab run true > /dev/null 2>&1
    for ((i = 1; i <= n; i++)); do
        machine $i &
        machines+=($!)
    done
    wait "${machines[@]}"
    cat "$POOL"/*/results >> "$POOL/results" 2> /dev/null
}
