# shellcheck shell=bash disable=SC2034,SC2154
# Guests whose devices are measured, under Vireo and under QEMU; sourced by the benchmarks of devices and of back
# ends, never run. They do the steps of devices.guest and have fio and iperf3 (1 vCPU, 512 MiB).

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

guest_script=$BUILD/assets/bench-devices.cpio
net_modules=$BUILD/assets/bench-devices-net.cpio
guest_userland=$BUILD/assets/bench-devices
guest_root=$BUILD/assets/bench-devices.img
words="console=ttyS0 quiet cryptomgr.notests panic=-1 mitigations=off root=/dev/vda ro"

# What in_test_machine has to bring.
guest_files=("$ROOT/tests/bench/devices.sh" "$guest_script" "$net_modules" "$guest_root")

# --- Outside ---

prepare_devices_guest() {
    prepare_guest
    "$LAB/guest" script "$ROOT/tests/bench/devices.guest" "$guest_script" > /dev/null
    "$LAB/guest" modules cloud "$net_modules" virtio_net > /dev/null
    rm -rf "$guest_userland"
    mkdir -p "$guest_userland"
    stage_merged_usr "$guest_userland"
    stage_files "$guest_userland" "$(command -v iperf3)"
    "$LAB/guest" disk "$guest_root" 128M "$guest_userland" > /dev/null
}

# --- Inside ---

# Where guests with the steps of devices.guest are measured: a directory of its own, and all.initrd in it.
inside_devices_guest() {
    mkdir -p /tmp/bench
    cd /tmp/bench || exit
    export XDG_CACHE_HOME=/tmp/bench/cache
    cat "$initrd" "$net_modules" "$guest_script" > all.initrd
}

qemu() {
    local append=$1
    shift
    qemu-system-x86_64 -M q35 -accel kvm -cpu host -smp 1 -m 512 -display none -nodefaults -no-user-config \
        -no-reboot -serial stdio -kernel "$kernel" -initrd all.initrd -append "$words $append" \
        -blockdev driver=file,filename="$guest_root",node-name=root,read-only=on -device virtio-blk-pci,drive=root "$@"
}

vireo() {
    local append=$1
    shift
    "$BUILD/vireo" run --no-reboot -m 512M -i all.initrd --cmdline "$words $append" --disk path="$guest_root",readonly=on "$@" "$kernel"
}

# measure COLUMN VMM ARGUMENT...: adds the rows that the guest prints to the file `results`, as
# "COLUMN KIND ROW VALUE...".
measure() {
    local column=$1 attempt
    shift
    for attempt in 1 2 3; do
        "$@" < /dev/null 2> errors | tr -d '\r' > output
        if grep -q "test exited 0" output; then
            sed -n "s/^bench /$column /p" output >> results
            return
        fi
        echo "the guest did not get to its end, attempt $attempt: $*" >&2
    done
    cat output errors >&2
    die "the guest did not get to its end"
}

# table TITLE KIND FIELD: the results of this kind, a column for each column, in the order they came. The
# last is the first divided by the second.
table() {
    awk -v title="$1" -v kind="$2" -v field="$3" '
        $2 != kind { next }
        !seen_column[$1]++ { columns[++column_count] = $1 }
        !seen_row[$3]++ { rows[++row_count] = $3 }
        { value[$1, $3] = $field }
        END {
            printf "\n%-24s", title
            for (c = 1; c <= column_count; c++) printf " %16s", columns[c]
            printf " %8s\n", "ratio"
            for (r = 1; r <= row_count; r++) {
                printf "%-24s", "  " rows[r]
                for (c = 1; c <= column_count; c++) printf " %16.0f", value[columns[c], rows[r]]
                first = value[columns[1], rows[r]]; second = value[columns[2], rows[r]]
                printf(" %8s\n", (second > 0) ? sprintf("%.2f", first / second) : "-")
            }
        }' results
}
