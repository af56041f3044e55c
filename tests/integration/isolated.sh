# shellcheck shell=bash disable=SC2034,SC2154
# Cases of guests about devices in processes that Vireo starts; sourced by guests, never run.

# process_of TYPE: the process that serves the (last) device of this type.
process_of() {
    local pid
    for pid in $(pgrep -P "$vmm"); do
        [ "$(cat "/proc/$pid/comm" 2> /dev/null)" != "vireo-$1" ] || echo "$pid"
    done | tail -n 1
}

status_of() {
    sed -n "s/^$2:[ \t]*//p" "/proc/$1/status"
}

# confined TYPE: what it has given up.
confined() {
    local pid
    pid=$(process_of "$1")
    same "$case: $1: one list of system calls, no new privileges" \
        "$(status_of "$pid" Seccomp) $(status_of "$pid" Seccomp_filters) $(status_of "$pid" NoNewPrivs)" "2 1 1"
    same "$case: $1: no capabilities" "$(status_of "$pid" CapPrm) $(status_of "$pid" CapEff)" "0000000000000000 0000000000000000"
    same "$case: $1: it is the only process it knows" "$(status_of "$pid" NSpid | cut -f 2)" 1
    same "$case: $1: an empty root" "$(find "/proc/$pid/root/" -mindepth 1 2>&1 | head -n 3)" ""
    same "$case: $1: no interface but a loopback that is down" \
        "$(nsenter -t "$pid" -n ip -o link show | grep -c .) $(nsenter -t "$pid" -n ip -o link show up | grep -c .)" "1 0"
    for space in user mnt net ipc uts pid; do
        [ "$(readlink "/proc/$pid/ns/$space")" != "$(readlink "/proc/$$/ns/$space")" ] || echo "$space"
    done > "$dir/shared"
    same "$case: $1: name spaces of its own" "$(< "$dir/shared")" ""
    same "$case: $1: nothing of ours is open" "$(find "/proc/$pid/fd" -lname "/*" -printf '%l\n' | grep -v -e "^$dir/" -e '^/dev/null' -e '^/dev/net/tun' -e '^/memfd:')" ""
}

private_kib() {
    awk '/^Private_(Clean|Dirty)/ { kib += $2 } END { print kib }' "/proc/$1/smaps_rollup"
}

# forbidden PID: have it make a system call that is on no device's list, chroot.
forbidden() {
    # shellcheck disable=SC2016  # words of gdb's
    gdb -batch -nx -p "$1" -ex 'set $rax = 161' -ex 'set var *(unsigned short *)$pc = 0x050f' -ex stepi > "$dir/gdb" 2>&1
}

# Two disks, a network card and a generator, each in a process of its own.
case_isolated() {
    local server process left
    ip tuntap add dev vireoiso mode tap
    ip address add 10.12.0.1/24 dev vireoiso
    ip link set vireoiso up
    serve 10.12.0.1:8412
    pattern 3145728 > "$dir/source"
    truncate -s 4M "$dir/a"
    start_guest disks+copy:source:a+random+address:10.12.0.2+ping:10.12.0.1:1400+fetch:10.12.0.1:8412:file+listen:5000+copy:source:a+forever \
        -m 192M -c 2 -i "$FIXTURES/net.cpio" -i "$FIXTURES/rng.cpio" --control "$dir/control" \
        -d "$dir/source,serial=source,isolate=on,readonly=on" -d "$dir/a,serial=a,isolate=on,queues=2,ring_packed=on,transport=mmio" \
        --net tap,ifname=vireoiso,isolate=on --rng getrandom,isolate=on,reconnect=0
    if await "listening on 5000"; then
        for process in blk net rng; do confined $process; done
        process=$(process_of blk)
        like "$case: a disk's process has at most 1.5 MB of its own" "$(private_kib "$process")" '^([0-9]{1,3}|1[0-4][0-9]{2})$'
        echo "# $case: KiB of its own: blk $(private_kib "$process"), net $(private_kib "$(process_of net)"), rng $(private_kib "$(process_of rng)")"
        same "$case: commands reach it" "$("$VIREO" control "$dir/control" blk0 resize 4M 2>&1; "$VIREO" control "$dir/control" blk1 resize 8M 2>&1)" \
            "vireo: the image is read-only"
        same "$case: a disk that has grown" "$(stat -c %s "$dir/a")" 8388608
        forbidden "$(process_of rng)"
        kill -KILL "$process"
        for _ in {1..50}; do
            [ "$(process_of blk)" = "$process" ] || [ -z "$(process_of blk)" ] || [ -n "$(process_of rng)" ] || break
            sleep 0.1
        done
        same "$case: one of them is gone, the other replaced" "$(process_of rng) $(pgrep -P "$vmm" | wc -l)" " 3"
        socat -u "FILE:$dir/file" TCP:10.12.0.2:5000
        await "waiting for ever"
        pgrep -P "$vmm" > "$dir/left"
    fi
    kill -KILL "$vmm"
    finished
    kill "$server"
    for _ in {1..50}; do
        left=$(while read -r process; do ps -o pid= -p "$process"; done < "$dir/left")
        [ -n "$left" ] || break
        sleep 0.1
    done
    same "$case: none outlives the VMM" "$left" ""
    ip link delete vireoiso
    same "$case: the log says what became of them" "$(grep -oE '(rng|blk)[01]: its process [0-9]+ was ended by signal [0-9]+' "$dir/stderr" |
        sed 's/its process [0-9]* //' | tr '\n' ' ')" "rng0: was ended by signal 31 blk1: was ended by signal 9 "
    same "$case: the disk reads what was written, also by the second process" "$(grep -c '^fact copy.a same' "$dir/console")" 2
    feature a 34 on
    expect "random numbers" random.virtio_rng.0 "20000 256"
    expect "the host answers" ping.10.12.0.1 "5 packets received"
    expect "what the host serves arrives" fetched "$(md5sum < "$dir/file")"
    expect "the network goes on without the others" heard "$(md5sum < "$dir/file")"
    same "$case: what was written is in the image" "$(cmp -n 3145728 "$dir/source" "$dir/a" 2>&1)" ""
}

# A program that is found by a file, one that is named, and one that isolates itself.
case_programs() {
    local -a programs=()
    local types=$dir/config/qemu/vhost-user
    pattern 3145728 > "$dir/source"
    truncate -s 4M "$dir/a" "$dir/b"
    mkdir -p "$types" "$dir/bin"
    "$VIREO" device --write-discovery="$types" --programs="$dir/bin" | while read -r name; do ln -s "$VIREO" "$dir/bin/$name"; done
    program b --isolate
    export XDG_CONFIG_HOME=$dir/config
    boot disks+copy:source:a:b+interrupts+random -m 192M -c 2 -i "$FIXTURES/rng.cpio" -d "$dir/source,serial=source,backend=vhost-user,readonly=on" \
        -d "$dir/a,serial=a,backend=vhost-user,program=$dir/bin/vhost-user-blk,queues=2" \
        -d "backend=vhost-user,socket=$dir/b.sock" --rng getrandom,backend=vhost-user
    done_with 0
    expect "a reads what was written" copy.a same
    expect "b reads what was written" copy.b same
    expect_like "the first cannot be written to" disk.source ' ro=1 '
    expect_like "two queues" queues.a '^2 of 256$'
    expect "random numbers" random.virtio_rng.0 "20000 256"
    expect "no lost interrupts" errors 0
    same "$case: none is left" "$(pgrep -f "^$dir/bin/vhost-user")" ""
    programs_end
}
