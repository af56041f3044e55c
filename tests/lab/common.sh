# shellcheck shell=bash
# Shared by the scripts of tests/lab; sourced, never run.
# Sets LAB (this directory), ROOT (the repository) and BUILD (where everything made goes).

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
ROOT=$(cd "$LAB/../.." && pwd -P)
BUILD=$(realpath -m -- "${BUILD:-$ROOT/build}")

# Debian keeps modprobe, mke2fs and the like where an ordinary user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin

die() {
    echo "${0##*/}: $*" >&2
    exit "${DIE_STATUS:-1}"
}

# need PROGRAM...: ends with a line saying how to get what is missing.
need() {
    local program
    for program; do
        command -v "$program" >/dev/null || die "$program is missing: run tests/lab/packages test"
    done
}

# The text of a script's own leading comment is its --help.
usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# kernel_dir cloud|full: prints the directory that tests/lab/fetch fills.
kernel_dir() {
    local dir=$BUILD/assets/kernel-$1
    [ -f "$dir/vmlinuz" ] || die "no $dir/vmlinuz: run tests/lab/fetch kernel-$1"
    echo "$dir"
}

# download LOG PACKAGE[=VERSION]...: Debian packages into the current directory. apt-get runs its downloads as
# user _apt, who may not write there: keep our own. Lists may be absent, or name a version that a newer one
# has replaced on the mirror: then update, once.
download() {
    local log=$1
    shift
    download_once "$log" "$@" || { update_lists "$log" && download_once "$log" "$@"; }
}

download_once() {
    apt-get -q -o APT::Sandbox::User="$(id -un)" download "${@:2}" >> "$1" 2>&1
}

update_lists() {
    local sudo=
    [ "$(id -u)" = 0 ] || sudo='sudo -n'
    $sudo apt-get -q -o DPkg::Lock::Timeout=600 update >> "$1" 2>&1 || true
}

# download_failure LOG: why it did not work.
download_failure() {
    grep -h '^E:' "$1" 2>/dev/null | tail -1 | grep . || echo "no network, or not Debian for amd64?"
}

# module_files cloud|full MODULE...: prints the .ko files that give these modules, in the order they
# must be loaded. A module that is built in needs no file.
module_files() {
    local dir release module
    dir=$(kernel_dir "$1") && release=$(cat "$dir/release") || exit
    shift
    for module; do
        modprobe -d "$dir" -S "$release" -D "$module" ||
            die "kernel $release has no module $module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# stage_modules STAGE NAME cloud|full MODULE...: puts the modules into an initramfs tree and their
# loading order into STAGE/modules/NAME.list.
stage_modules() {
    local stage=$1 name=$2 file
    shift 2
    mkdir -p "$stage/modules"
    module_files "$@" > "$stage/modules/$name.list.tmp"
    while read -r file; do
        cp "$file" "$stage/modules/"
        echo "${file##*/}"
    done < "$stage/modules/$name.list.tmp" > "$stage/modules/$name.list"
    rm "$stage/modules/$name.list.tmp"
}

# stage_busybox STAGE: /bin/busybox and a /bin/sh; the applets are linked by whoever boots it.
stage_busybox() {
    need busybox
    mkdir -p "$1/bin"
    cp -L "$(command -v busybox)" "$1/bin/busybox"
    ln -sf busybox "$1/bin/sh"
}

# library_files FILE...: the shared libraries and the ELF interpreters of dynamic executables.
# Scripts, data and static programs have none.
library_files() {
    local file
    for file; do
        ldd "$file" 2>/dev/null || true
    done | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $1 !~ /:$/ { print $1 }' | sort -u
}

# stage_merged_usr STAGE: /bin, /sbin and /lib* are links into /usr, as on this machine, so that a
# program and its interpreter are found under either name.
stage_merged_usr() {
    local name
    for name in bin sbin lib lib32 lib64 libx32; do
        mkdir -p "$1/usr/$name"
        ln -s "usr/$name" "$1/$name"
    done
}

# stage_files STAGE PATH...: copies files and directories, links followed, to the same absolute
# paths under STAGE. Programs named directly (not the content of directories) bring their libraries.
stage_files() {
    local stage=$1 path file
    local -a programs=() files=()
    shift
    for path; do
        path=$(realpath -s -- "$path")
        if [ -d "$path" ]; then
            find -L "$path" -type d -print0 | (cd "$stage" && sed -z 's|^/||' | xargs -0r mkdir -p --)
            while IFS= read -r -d '' file; do files+=("$file"); done < <(find -L "$path" -type f -print0)
        elif [ -f "$path" ]; then
            programs+=("$path")
        else
            die "no such file or directory: $path"
        fi
    done
    if [ ${#programs[@]} -gt 0 ]; then
        files+=("${programs[@]}")
        while read -r file; do files+=("$file"); done < <(library_files "${programs[@]}")
    fi
    if [ ${#files[@]} -gt 0 ]; then
        # tar, because cp --parents stumbles over the links of stage_merged_usr.
        printf '%s\0' "${files[@]#/}" |
            tar -C / --null -T - -c -h -S --hard-dereference |
            tar -C "$stage" -x --keep-directory-symlink --no-same-owner
    fi
}

# make_cpio STAGE: the tree as an initramfs archive on standard output, owned by root.
make_cpio() {
    (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
        cpio --null --create --format=newc --owner=+0:+0 --quiet)
}

# fingerprint PATH...: one line that changes whenever one of these files (or a file of these
# directories) does. By size and time: hashing every module would take seconds at every start.
fingerprint() {
    find -L "$@" -type f -printf '%p %s %T@\n' | LC_ALL=C sort | sha256sum | cut -d' ' -f1
}

# cached STAMP KEY FILE...: true when all FILEs exist and were made from inputs with this KEY.
cached() {
    local stamp=$1 key=$2 file old=
    shift 2
    for file; do
        [ -f "$file" ] || return 1
    done
    if [ -f "$stamp" ]; then read -r old < "$stamp" || true; fi
    [ "$old" = "$key" ]
}
