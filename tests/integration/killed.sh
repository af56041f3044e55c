# shellcheck shell=bash disable=SC2034,SC2154
# Disks whose processes are killed at random moments while a guest works with them. Sourced by
# tests/integration/devices.

KILLS=50

# restarts NAME COMMAND...: runs it. Once $dir/go is there it is killed again and again, and started again at
# once; after KILLS times $dir/NAME.killed is there, and it runs on until SIGTERM.
restarts() {
    local name=$1 killed n
    shift
    for ((killed = 0; killed < KILLS; killed++)); do
        "$@" 2>> "$dir/$name.err" &
        for ((n = 0; n < 6000; n++)); do
            [ ! -e "$dir/go" ] || break
            sleep 0.05
        done
        sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
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

# A split ring, a packed one, each with more queues than one, and one of a process that nobody here wrote.
case_killed() {
    local name
    truncate -s 4M "$dir/split" "$dir/packed" "$dir/stop"
    served split "$VIREO" device blk --socket-path="$dir/split.sock" "path=$dir/split" serial=split queues=2
    served packed "$VIREO" device blk --socket-path="$dir/packed.sock" "path=$dir/packed" serial=packed \
        ring_packed=on queues=2 aio=threads
    debian disks+verify_on:stop:split:packed -c 2 -m 384M -d "$dir/stop,serial=stop" \
        -d "backend=vhost-user,socket=$dir/split.sock,queues=2" \
        -d "backend=vhost-user,socket=$dir/packed.sock,queues=2,ring_packed=on,transport=mmio"
    start "${options[@]}"
    await 'fact verifying' && : > "$dir/go"
    until [ -e "$dir/split.killed" ] && [ -e "$dir/packed.killed" ] || ! kill -0 "$runner" 2> /dev/null; do
        sleep 0.1
    done
    printf stop | dd of="$dir/stop" conv=notrunc status=none
    finished
    kill -TERM "${killers[@]}"
    wait "${killers[@]}"
    same "$case: Vireo noticed each time" "$(($(grep -c 'gone, and waited for' "$dir/stderr") >= KILLS))" 1
    sed -i '/gone, and waited for/d' "$dir/stderr"
    done_with 0
    feature packed 34 on
    expect "fio verifies" verify 0
    like "$case: some times" "$(fact passes)" '^[1-9]'
    for name in split packed; do
        expect "$name: the guest reads what the image holds" "sum.$name" "$(sum "$dir/$name")"
        same "$case: $name: killed $KILLS times" "$(find "$dir/$name.killed")" "$dir/$name.killed"
    done
}
