# shellcheck shell=bash disable=SC2034,SC2154
# Disks whose processes are killed at random moments while a guest works with them. Sourced by
# tests/integration/devices.

# reached NAME TIMES: the disk's process was connected to, that often after it was killed.
reached() {
    [ -e "$dir/go" ] && [ "$(grep -c " $1: a process serves it again" "$dir/stderr")" = "$2" ]
}

# restarts NAME COMMAND...: runs it. Once $dir/go is there it is killed again and again, a random time after it
# was connected to, and started again at once; after KILLS times $dir/NAME.killed is there, and it runs on until
# SIGTERM.
restarts() {
    local name=$1 killed n
    shift
    for ((killed = 0; killed < KILLS; killed++)); do
        "$@" 2>> "$dir/$name.err" &
        for ((n = 0; n < 10000; n++)); do
            ! reached "$name" "$killed" || break
            sleep 0.02
        done
        sleep "0.$((RANDOM % 2))$((RANDOM % 10))"
        kill -KILL $!
        { wait $!; } 2> /dev/null
    done
    : > "$dir/$name.killed"
    exec "$@" 2>> "$dir/$name.err"
}

# served NAME COMMAND...: the same in the background, once it listens at $dir/NAME.sock.
killers=()
served() {
    restarts "$@" &
    killers+=($!)
    until [ -S "$dir/$1.sock" ] || ! kill -0 $! 2> /dev/null; do sleep 0.05; done
}

# Split rings and packed ones, and a process that nobody here wrote and that keeps no record itself.
case_killed() {
    local name
    truncate -s 4M "$dir/split" "$dir/packed" "$dir/vhost_user_blk" "$dir/stop"
    served split "$VIREO" device blk --socket-path="$dir/split.sock" "path=$dir/split" serial=split queues=2
    served packed "$VIREO" device blk --socket-path="$dir/packed.sock" "path=$dir/packed" serial=packed \
        ring_packed=on queues=2 aio=threads
    served vhost_user_blk qemu-storage-daemon \
        --blockdev "driver=file,node-name=disk,filename=$dir/vhost_user_blk" --export \
        "type=vhost-user-blk,id=e,node-name=disk,writable=on,addr.type=unix,addr.path=$dir/vhost_user_blk.sock"
    debian disks+verify_on:stop:split:packed:vhost_user_blk --log info -c 2 -m 384M -d "$dir/stop,serial=stop" \
        -d "backend=vhost-user,socket=$dir/split.sock,queues=2,id=split" \
        -d "backend=vhost-user,socket=$dir/packed.sock,queues=2,ring_packed=on,transport=mmio,id=packed" \
        -d "backend=vhost-user,socket=$dir/vhost_user_blk.sock,relay=on,id=vhost_user_blk"
    start "${options[@]}"
    await 'fact verifying' && : > "$dir/go"
    until [ "$(find "$dir" -name '*.killed' | wc -l)" = 3 ] || ! kill -0 "$runner" 2> /dev/null; do sleep 0.1; done
    printf stop | dd of="$dir/stop" conv=notrunc status=none
    finished
    kill -TERM "${killers[@]}"
    wait "${killers[@]}"
    for name in split packed vhost_user_blk; do
        same "$case: $name: killed, and found again" \
            "$(grep -c " $name: a process serves it again" "$dir/stderr")" "$KILLS"
    done
    sed -i '/gone, and waited for$/d; /^vireo: info: /d' "$dir/stderr"
    done_with 0
    feature packed 34 on
    expect "fio verifies" verify 0
    like "$case: some times" "$(fact passes)" '^[1-9]'
    for name in split packed vhost_user_blk; do
        expect "$name: the guest reads what the image holds" "sum.$name" "$(sum "$dir/$name")"
    done
}
