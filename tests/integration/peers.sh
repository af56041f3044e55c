# shellcheck shell=bash disable=SC2034,SC2154
# Cases of the suite grid with single programs that nobody here wrote, where a boot that moves some data is
# not enough: all that a file system does, a disk's queues and size, and our programs under other front ends.
# Sourced by grid, whose data they use.

# File operations in the guest on a directory of the host's, by virtiofsd, and on a disk's ext4: they come to
# the same. The directory is on ext4, too, since a tmpfs keeps no attributes. FS-01 to FS-05.
case_fs_posix() {
    local name mapped
    modprobe loop 2> /dev/null
    truncate -s 300M "$dir/local" "$dir/ext4"
    mke2fs -q -t ext4 "$dir/ext4"
    mkdir "$dir/shared"
    mount -o loop "$dir/ext4" "$dir/shared"
    pattern 20000000 > "$dir/shared/down"
    new_spaces host
    serve /usr/lib/qemu/virtiofsd --socket-path="$dir/fs.sock" -o "source=$dir/shared,sandbox=chroot,xattr"
    wait_for_socket "$dir/fs.sock"
    debian posix+big+mapped -m 512M -d "$dir/local,serial=local" --fs "shared,socket=$dir/fs.sock"
    start "${options[@]}"
    finished
    remove_spaces
    done_with 0
    expect_like "as many operations as there are, and no difference" posix '^[6-9][0-9] 0$'
    expect "20 MB of the host's" big.down "$(sum "$dir/shared/down")"
    same "$case: 20 MB of the guest's" "$(sum "$dir/shared/up")" "$(fact big.up)"
    mapped=$(sum "$dir/shared/mapped")
    expect "written through a mapping" mapped "$mapped $mapped"
    umount "$dir/shared"
}

# A disk with four queues, and a configuration that is the daemon's. (Debian's does not tell when its size
# changes.) BLK-01.
case_storage_daemon() {
    truncate -s 8M "$dir/disk"
    new_spaces host
    serve qemu-storage-daemon --blockdev "driver=file,filename=$dir/disk,node-name=disk" \
        --export "vhost-user-blk,id=export,node-name=disk,writable=on,num-queues=4,logical-block-size=4096,addr.type=unix,addr.path=$dir/disk.sock"
    wait_for_socket "$dir/disk.sock"
    debian disks+verify:4m:4096 -c 4 -m 512M -d "backend=vhost-user,socket=$dir/disk.sock,queues=4"
    start "${options[@]}"
    finished
    remove_spaces
    done_with 0
    expect "fio verifies" verify 0
    expect "the disk" verified "1 of 1"
    expect_like "four queues" queues.vhost_user_blk '^4 of '
    expect_like "its size" disk.vhost_user_blk '^vdb 8388608 ro=0'
    expect_like "its blocks" blocks.vhost_user_blk '^4096 '
    expect "the guest reads what the image holds" sum.vhost_user_blk "$(sum "$dir/disk")"
}

# Our programs under QEMU. (Its cards serve the control queue themselves.)
case_served_qemu() {
    local type device keys down half
    new_data
    new_spaces host
    for type in net rng input; do
        prepare_$type pci
        back_served $type pci
    done
    connect_net pci
    cat "$FIXTURES/initrd-cloud.cpio" "$FIXTURES/grid-modules.cpio" "$FIXTURES/grid.cpio" > "$dir/initrd"
    in_space host timeout "$limit" qemu-system-x86_64 -accel kvm -cpu host -M q35,memory-backend=memory -m 256 \
        -object memory-backend-memfd,id=memory,size=256M,share=on -display none -nodefaults -no-reboot -serial stdio \
        -chardev "socket,id=net,path=$dir/net-pci.sock" -netdev vhost-user,id=net,chardev=net \
        -device virtio-net-pci,netdev=net,romfile= \
        -chardev "socket,id=rng,path=$dir/rng-pci.sock" -device vhost-user-rng-pci,chardev=rng \
        -chardev "socket,id=input,path=$dir/input-pci.sock" -device vhost-user-input-pci,chardev=input \
        -kernel "$CLOUD" -initrd "$dir/initrd" \
        -append "console=ttyS0 quiet cryptomgr.notests panic=-1 vireo.test=cell:net:pci+cell:rng:pci+cell:input:pci" \
        < /dev/null 2> "$dir/stderr" | tr -d '\r' > "$dir/console"
    same "$case: QEMU's exit status" "${PIPESTATUS[0]}" 0
    remove_spaces
    succeeds "$case: a card" judge_net pci
    succeeds "$case: a generator" judge_rng pci
    succeeds "$case: a keyboard" judge_input pci
}

# A card of ours under DPDK, which answers to pings; their data is compared.
case_served_dpdk() {
    local device keys
    new_spaces host
    prepare_net pci
    back_served net pci
    in_space host ip addr add 10.9.1.1/24 dev t-pci
    in_space host ip link set t-pci up
    serve in_space host dpdk-testpmd "${dpdk[@]}" --vdev "net_virtio_user0,path=$dir/net-pci.sock,queues=1" \
        -- --no-mlockall --forward-mode=icmpecho --auto-start --total-num-mbufs=2048 --stats-period=1000
    for _ in {1..60}; do
        ! in_space host ping -q -c 1 -W 1 10.9.1.2 > /dev/null || break
    done
    like "$case: it answers" "$(in_space host ping -c 10 -i 0.2 -s 1400 -p 5a 10.9.1.2 2>&1 | tail -n 2)" ' 10 received'
    remove_spaces
}
