# shellcheck shell=bash disable=SC2034,SC2154
# Shared by the suites that boot guests under Vireo and judge by what they saw, said and left on their disks;
# sourced, never run. SUITE is set before; a suite defines functions case_NAME and ends with `run_cases
# NAME...`, those first that take long. Its arguments are
#
#   [--list] [PATTERN...]
#
# With --list, the cases are only named. Cases whose name matches a PATTERN, else all, are run, $JOBS at a time
# (default 1). What each guest said stays in the directory $KEEP, if that is set.
#
# Machines that share the cases ($MACHINE is this one's number) have a directory $POOL for that: see claim and hung_once.
# There, $MACHINE/done names the cases that have ended here.

list=
if [ "${1-}" = --list ]; then
    list=1
    shift
fi
SELECT=${*:-${SELECT:-}}
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

JOBS=${JOBS:-1}
POOL=${POOL:-}
export XDG_CACHE_HOME=$work/cache HOME=$work
FULL=$ASSETS/kernel-full/vmlinuz

# --- one guest ---
# In a case: $dir is its own directory, and what a run leaves are $status, console and stderr.

limit=$((300 * scale))
script=script.cpio

# vireo ARGUMENT...: runs it in the foreground.
vireo() {
    timeout -k 5 "$limit" "$VIREO" run "$@" < /dev/null > "$dir/console.raw" 2> "$dir/stderr"
    status=$?
    tr -d '\r' < "$dir/console.raw" > "$dir/console"
}

# boot STEPS [OPTION...]: a guest with an initramfs, whose $script does the steps.
boot() {
    local steps=$1
    shift
    vireo -i "$FIXTURES/initrd-${flavour:-cloud}.cpio" -i "$FIXTURES/$script" --append "vireo.test=$steps" \
        "$@" "${kernel:-$CLOUD}"
}

# start OPTION...: in the background, by the words of $runs_in if there are any, and with $input as its standard input;
# then `await TEXT`, and `finished` for its end.
start() {
    : > "$dir/console.raw"
    "${runs_in[@]}" timeout --foreground -k 5 "$limit" "$VIREO" run "$@" < "$input" > "$dir/console.raw" 2> "$dir/stderr" &
    runner=$!
    until vmm=$(pgrep -P $runner) || ! kill -0 $runner 2> /dev/null; do sleep 0.02; done
}

# debian STEPS [OPTION...]: the options of a guest whose root is Debian's.
debian() {
    local steps=$1
    shift
    options=(-i "$FIXTURES/initrd-cloud.cpio" -i "$FIXTURES/$script"
        -d "$ASSETS/userland/root.img,readonly=on" --append "root=/dev/vda ro vireo.test=$steps" "$@" "$CLOUD")
}

start_guest() {
    local steps=$1
    shift
    start -i "$FIXTURES/initrd-cloud.cpio" -i "$FIXTURES/$script" --append "vireo.test=$steps" "$@" "$CLOUD"
}

await() {
    local n
    for ((n = 0; n < limit * 10; n++)); do
        grep -q "$1" "$dir/console.raw" && return
        kill -0 "$runner" 2> /dev/null || break
        sleep 0.1
    done
    fail "$case: the guest says '$1'" "it does not"
    return 1
}

finished() {
    # Without the shell's word about one that was killed.
    { wait "$runner"; } 2> /dev/null
    status=$?
    tr -d '\r' < "$dir/console.raw" > "$dir/console"
}

# fact NAME: what the guest said of it.
fact() {
    sed -n "s/^fact $1 //p" "$dir/console" | head -n 1
}

expect() {
    same "$case: $1" "$(fact "$2")" "$3"
}

expect_like() {
    like "$case: $1" "$(fact "$2")" "$3"
}

# ended STATUS: how it must have ended, without a word from Vireo or a complaint of the guest's kernel.
ended() {
    local complaints
    if [ "$status" = "$1" ]; then
        pass "$case: exit status $1"
    else
        fail "$case: exit status $1" "it is $status: $(tail -n 1 "$dir/stderr")"
        sed 's/^/    /' "$dir/stderr" | head -n 5
        tail -n 25 "$dir/console" | sed 's/^/    | /'
    fi
    same "$case: Vireo has nothing to say" "$(grep -v '^timing: ' "$dir/stderr" | head -n 2)" ""
    complaints=$(grep '^complaint ' "$dir/console" | head -n 3)
    same "$case: the kernel does not complain" "$complaints" ""
}

# done_with STATUS: the same for a guest that did all its steps.
done_with() {
    ended "$1"
    grep -q '^fact finished ' "$dir/console" || fail "$case: all steps done" "they are not"
}

# feature DISK BIT on|off
feature() {
    local bits
    bits=$(fact "features.$1")
    case ${bits:$2:1} in
        1) same "$case: $1 has feature $2 $3" on "$3" ;;
        0) same "$case: $1 has feature $2 $3" off "$3" ;;
        *) fail "$case: $1 has feature $2 $3" "no such disk" ;;
    esac
}

sum() {
    sha256sum < "$1" | cut -c 1-16
}

pattern() {
    openssl enc -aes-128-ctr -pass pass:vireo -nosalt -in /dev/zero 2> /dev/null | head -c "$1" ||
        head -c "$1" /dev/urandom
}

# --- who else takes part ---

# In network name spaces of their own, so that cases leave nothing. The one called host is where Vireo runs.

# new_spaces NAME...
new_spaces() {
    spaces=("$@")
    local name
    for name; do
        ip netns add "vireo-$$-$name"
        in_space "$name" ip link set lo up
    done
    runs_in=(ip netns exec "vireo-$$-host")
}

# in_space NAME COMMAND...
in_space() {
    ip netns exec "vireo-$$-$1" "${@:2}"
}

spaces=() servers=()
serve() {
    "$@" > /dev/null 2>&1 &
    servers+=($!)
}

remove_spaces() {
    local name
    kill "${servers[@]}" 2> /dev/null
    wait "${servers[@]}" 2> /dev/null
    servers=()
    for name in "${spaces[@]}"; do ip netns del "vireo-$$-$name"; done
}

# wait_for_socket PATH: of a server that was started.
wait_for_socket() {
    local n
    for ((n = 0; n < 600; n++)); do
        [ ! -S "$1" ] || return 0
        sleep 0.1
    done
}

# --- the kernel's back ends ---

# lio_target NUMBER FILE: a target port of the kernel's whose one logical unit is the file.
lio_target() {
    local config=/sys/kernel/config/target core port
    mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
    core=$config/core/fileio_$1/disk port=$config/vhost/naa.500140500000000$1/tpgt_1
    mkdir -p "$core"
    echo "fd_dev_name=$2,fd_dev_size=$(stat -c %s "$2")" > "$core/control"
    echo 1 > "$core/enable"
    mkdir -p "$port/lun/lun_0"
    ln -s "$core" "$port/lun/lun_0/disk"
    echo "naa.500140500000fff$1" > "$port/nexus"
}

lio_remove() {
    local config=/sys/kernel/config/target port
    port=$config/vhost/naa.500140500000000$1/tpgt_1
    rm "$port/lun/lun_0/disk"
    echo NULL > "$port/nexus"
    rmdir "$port/lun/lun_0" "$port" "${port%/*}" "$config/core/fileio_$1/disk" "$config/core/fileio_$1"
}

# The kernel's own simulators: disks in memory, and cards that get back what they send. On a kernel that has
# none the case is not run. vdpa_devices NAME...
vdpa_devices() {
    local name loaded=0
    "$ROOT/tests/lab/vdpa" load > "$dir/load" 2>&1 || loaded=$?
    [ $loaded = 0 ] || set --
    for name; do
        case $name in
            blk*) vdpa dev add mgmtdev vdpasim_blk name "$name" ;;
            net*) vdpa dev add mgmtdev vdpasim_net name "$name" mac "02:00:00:00:07:0${name#net}" ;;
        esac >> "$dir/load" 2>&1 || loaded=1
    done
    case $loaded in
        0) ;;
        3) echo "# $case: not run: $(< "$dir/load")" ;;
        *) fail "$case: the simulators" "$(head -n 1 "$dir/load")" ;;
    esac
    return $loaded
}

# node NAME: the file of a device.
node() {
    echo "/dev/$(basename /sys/bus/vdpa/devices/"$1"/vhost-vdpa-*)"
}

vdpa_remove() {
    local name
    for name; do vdpa dev del "$name"; done
}

# --- running them ---

run_case() {
    local begin=$SECONDS
    case=$1
    dir=$work/$case
    mkdir "$dir"
    truncate -s 1M "$dir/disk"
    RESULTS=$dir/results
    runner='' vmm='' kernel='' flavour='' runs_in=() input=/dev/null
    "case_$case" > "$dir/report" 2>&1
    echo "# $case: $((SECONDS - begin)) s" >> "$dir/report"
    took $((SECONDS - begin)) "$SUITE/$case"
    if [ $((SECONDS - begin)) -ge $((60 * scale)) ] && grep -q '^not ok' "$RESULTS"; then touch "$dir/hung"; fi
}

# claim NAME: is the case this machine's? Whoever comes first leaves a link to its own number.
claim() {
    local link=$POOL/claims/$SUITE.$1
    [ -n "$POOL" ] || return 0
    ln -sT "$MACHINE" "$link" 2> /dev/null || [ "$(readlink "$link")" = "$MACHINE" ] || return 1
    ! grep -qx "$SUITE/$1" "$POOL/$MACHINE/done"
}

# In an emulated machine guests may hang one after the other, from some moment on, while in the machine beside it
# all is well. So a case that failed after a long time ends this machine, and the next one begins with it; if
# that is the second time, it counts.
hung_once() {
    [ -n "$POOL" ] && [ -e "$work/$1/hung" ] && ! grep -qx "$SUITE/$1" "$POOL/$MACHINE/hung" || return 1
    echo "# $1 hung:"
    grep -v '^ok ' "$work/$1/report" | sed 's/^/#   /'
    echo "$SUITE/$1" >> "$POOL/$MACHINE/hung"
}

# In one piece, so that the cases' lines do not mix; and the directory's memory is given back.
report_case() {
    local name
    ! hung_once "$1" || exit 3
    cat "$work/$1/report"
    cat "$work/$1/results" >> "$RESULTS"
    if [ -n "${KEEP:-}" ]; then
        mkdir -p "$KEEP"
        for name in console stderr; do
            [ ! -e "$work/$1/$name" ] || cp "$work/$1/$name" "$KEEP/$1.$name"
        done
    fi
    [ -z "$POOL" ] || echo "$SUITE/$1" >> "$POOL/$MACHINE/done"
    rm -rf "${work:?}/$1"
}

declare -A running=()
reap() {
    local pid
    wait -n -p pid "${!running[@]}"
    report_case "${running[$pid]}"
    unset "running[$pid]"
}

# run_cases NAME...: all that a suite has.
run_cases() {
    local name
    if [ -n "$list" ]; then
        for name; do
            ! selected "$name" || echo "$name"
        done
        return
    fi
    # The kernels are read again and again: from memory. The cache is filled once, for all.
    cp "$CLOUD" "$work/vmlinuz"
    CLOUD=$work/vmlinuz
    "$VIREO" run --dry-run "$CLOUD" > /dev/null
    for name; do
        selected "$name" || continue
        [ ${#running[@]} -lt "$JOBS" ] || reap
        # Whoever started this suite says which were not run.
        ! too_late || break
        claim "$name" || continue
        (run_case "$name") &
        running[$!]=$name
    done
    while [ ${#running[@]} -gt 0 ]; do reap; done
    finish
}
