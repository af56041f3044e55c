# shellcheck shell=bash
# Shared by the benchmarks that run in the test machine; sourced, never run. $0 runs twice: outside, where
# it ends with `in_test_machine`, and inside, as `$0 inside ...`.

. "$(dirname "${BASH_SOURCE[0]}")/../lab/common.sh"

kernel=$BUILD/assets/kernel-cloud/vmlinuz
initrd=$BUILD/assets/guest-initrd-cloud.cpio
disk_modules=$BUILD/assets/bench-modules

# --- Outside ---

# Makes what the functions below use: the guest's kernel and initramfs, the modules of memory_disk.
prepare_guest() {
    "$LAB/packages" test
    "$LAB/fetch" kernel-cloud kernel-full
    "$LAB/guest" initrd cloud > /dev/null
    rm -rf "$disk_modules"
    stage_modules "$disk_modules" disk full brd ext4 crc32c_generic
}

# in_test_machine OPTION... -- [PATH...] -- [ARGUMENT...]: `$0 inside ARGUMENT...` in a test machine
# (tests/lab/run OPTION...) that has the PATHs, the guest, Vireo and QEMU.
in_test_machine() {
    local script options=() copies=() path
    script=$ROOT/tests/bench/${0##*/}
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    while [ "$1" != -- ]; do copies+=(--copy "$1"); shift; done
    shift
    for path in bash realpath mke2fs qemu-system-x86_64; do
        copies+=(--copy "$(command -v "$path")")
    done
    for path in /etc/ld.so.cache /etc/mke2fs.conf /usr/share/qemu /usr/share/seabios "$script" "$ROOT/tests/bench/common.sh" \
        "$LAB/common.sh" "$disk_modules" "$kernel" "$initrd" "$BUILD/vireo" "$BUILD/vireo-unpack.so"; do
        copies+=(--copy "$path")
    done
    "$LAB/run" "${options[@]}" --env BUILD="$BUILD" "${copies[@]}" -- bash "$script" inside "$@"
}

# --- Inside ---

# memory_disk MIB PATH: mounts an ext4 file system in memory: what is on it is read and written as it is on
# real disks, by way of the page cache.
memory_disk() {
    local file
    while read -r file; do
        case $file in
            brd.ko) insmod "$disk_modules/modules/$file" rd_nr=1 rd_size=$(($1 * 1024)) ;;
            *) insmod "$disk_modules/modules/$file" 2> /dev/null || true ;; # a processor without CRC32
        esac
    done < "$disk_modules/modules/disk.list"
    mke2fs -q -t ext4 -b 4096 /dev/ram0
    mkdir "$2"
    mount -t ext4 /dev/ram0 "$2"
}
