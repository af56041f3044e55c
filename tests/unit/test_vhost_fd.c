/* Requests to kernel vhost devices: opening, features, memory, IOTLB, vrings. */
#include "base/bytes.h"
#include "tests/driver/fake_vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NODE  "/dev/vhost-test"
#define V2    BIT(VHOST_BACKEND_F_IOTLB_MSG_V2)
#define BATCH BIT(VHOST_BACKEND_F_IOTLB_BATCH)

static int open_with(struct vhost_fd *v, uint64_t wanted, struct error *err)
{
    return vhost_fd_open(v, &fake_vhost_system, NODE, "vhost_test", wanted, err);
}

static int setup(void **state)
{
    (void)state;
    fake_vhost_init(BIT(VIRTIO_F_VERSION_1) | 1, V2 | BATCH);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_vhost_end();
    return 0;
}

static void refusals_say_what_to_do(void **state)
{
    static const struct {
        int code;
        const char *text;
    } cases[] = {
        {ENOENT, "this host has no " NODE " (modprobe vhost_test)"},
        {ENXIO, "this host has no " NODE " (modprobe vhost_test)"},
        {EACCES, "no permission for " NODE " (its owner, group and mode say who has it)"},
        {EMFILE, NODE ": Too many open files"},
    };
    struct vhost_fd v;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = ERROR_INIT;

        fake_vhost.open_error = cases[i].code;
        assert_int_equal(open_with(&v, 0, &err), -cases[i].code);
        assert_string_equal(err.text, cases[i].text);
        assert_int_equal(v.fd, -1);
    }
}

static void a_device_somebody_owns_is_closed_again(void **state)
{
    struct error err = ERROR_INIT;
    struct vhost_fd v;

    (void)state;
    fake_vhost.refused = VHOST_SET_OWNER;
    fake_vhost.refused_error = EBUSY;
    assert_int_equal(open_with(&v, V2, &err), -EBUSY);
    assert_string_equal(err.text, NODE ": VHOST_SET_OWNER: Device or resource busy");
    assert_int_equal(v.fd, -1);
    assert_int_equal(fcntl(fake_vhost.devices[0].fd, F_GETFD), -1);
}

static void backend_features_are_those_both_know(void **state)
{
    struct vhost_fd v;

    (void)state;
    assert_int_equal(open_with(&v, V2 | BIT(40), NULL), 0);
    assert_true(vhost_fd_has(&v, VHOST_BACKEND_F_IOTLB_MSG_V2));
    assert_false(vhost_fd_has(&v, VHOST_BACKEND_F_IOTLB_BATCH));
    assert_int_equal(fake_vhost.devices[0].backend_features, V2);
    vhost_fd_close(&v);

    fake_vhost.backend_features = 0; /* a kernel that has never heard of them */
    assert_int_equal(open_with(&v, V2, NULL), 0);
    assert_int_equal(v.backend_features, 0);
    vhost_fd_close(&v);
}

static void features_are_64_bits(void **state)
{
    struct virtio_features f;
    struct vhost_fd v;

    (void)state;
    assert_int_equal(open_with(&v, 0, NULL), 0);
    assert_int_equal(vhost_fd_get_features(&v, &f, NULL), 0);
    assert_true(features_has(&f, 0) && features_has(&f, VIRTIO_F_VERSION_1));
    features_set(&f, 0, false);
    assert_int_equal(vhost_fd_set_features(&v, &f, NULL), 0);
    assert_int_equal(fake_vhost.devices[0].features, BIT(VIRTIO_F_VERSION_1));
    vhost_fd_close(&v);
}

/* Two regions, as with memory above 4 GiB. */
static void make_memory(struct guest_memory *memory)
{
    guest_memory_init(memory);
    assert_int_equal(guest_memory_add(memory, 0, MIB, 0, NULL), 0);
    assert_int_equal(guest_memory_add(memory, 4 * GIB, MIB, 0, NULL), 0);
}

static void all_regions_are_told(void **state)
{
    const struct fake_vhost_device *device = &fake_vhost.devices[0];
    struct guest_memory memory;
    struct vhost_fd v;

    (void)state;
    make_memory(&memory);
    assert_int_equal(open_with(&v, 0, NULL), 0);
    assert_int_equal(vhost_fd_set_memory(&v, &memory, NULL), 0);
    assert_int_equal(device->region_count, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(device->regions[i].guest_phys_addr, memory.regions[i].start);
        assert_int_equal(device->regions[i].memory_size, MIB);
        assert_int_equal(device->regions[i].userspace_addr, (uintptr_t)memory.regions[i].host);
    }
    vhost_fd_close(&v);
    guest_memory_destroy(&memory);
}

static void memory_is_mapped_in_a_batch(void **state)
{
    static const unsigned types[] = {VHOST_IOTLB_BATCH_BEGIN, VHOST_IOTLB_UPDATE,
                                     VHOST_IOTLB_UPDATE, VHOST_IOTLB_BATCH_END};
    const struct fake_vhost_device *device = &fake_vhost.devices[0];
    struct guest_memory memory;
    struct vhost_fd v;

    (void)state;
    make_memory(&memory);
    assert_int_equal(open_with(&v, V2 | BATCH, NULL), 0);
    assert_int_equal(vhost_fd_map_memory(&v, 3, &memory, NULL), 0);
    assert_int_equal(device->message_count, ARRAY_SIZE(types));
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        assert_int_equal(device->messages[i].type, VHOST_IOTLB_MSG_V2);
        assert_int_equal(device->messages[i].asid, 3);
        assert_int_equal(device->messages[i].iotlb.type, types[i]);
    }
    assert_int_equal(device->messages[2].iotlb.iova, 4 * GIB);
    assert_int_equal(device->messages[2].iotlb.size, MIB);
    assert_int_equal(device->messages[2].iotlb.uaddr, (uintptr_t)memory.regions[1].host);
    assert_int_equal(device->messages[2].iotlb.perm, VHOST_ACCESS_RW);
    vhost_fd_close(&v);
    guest_memory_destroy(&memory);
}

static void misses_are_read(void **state)
{
    uint64_t address = 0;
    struct vhost_fd v;

    (void)state;
    assert_int_equal(open_with(&v, V2, NULL), 0);
    assert_false(vhost_fd_read_miss(&v, &address));
    fake_vhost_miss(&fake_vhost.devices[0], 0x123456789000);
    assert_true(vhost_fd_read_miss(&v, &address));
    assert_int_equal(address, 0x123456789000);
    assert_false(vhost_fd_read_miss(&v, &address));
    vhost_fd_close(&v);
}

/* The kernel does not look: the ring's last bytes may be ours. DRV-QCFG-01, DRV-QCFG-04,
 * DRV-QCFG-06 */
static void rings_beyond_memory_are_found(void **state)
{
    const struct virtio_features split = {0};
    struct virtqueue_setup ring = {0, 256, GPA(0x1000), GPA(0x2000), GPA(MIB - 2052)};
    struct vhost_ring found;
    struct guest_memory memory;
    struct error err = ERROR_INIT;

    (void)state;
    make_memory(&memory);
    /* A used ring of 256 entries has 2054 bytes: one too many, then just enough. */
    assert_int_equal(vhost_ring_find(&memory, &ring, &split, false, &found, &err), -EINVAL);
    assert_non_null(strstr(err.text, "DRV-QCFG-06"));
    ring.device = GPA(MIB - 2056);
    assert_int_equal(vhost_ring_find(&memory, &ring, &split, false, &found, &err), 0);
    assert_int_equal(found.desc, (uintptr_t)memory.regions[0].host + 0x1000);
    assert_int_equal(found.device, (uintptr_t)memory.regions[0].host + MIB - 2056);
    assert_int_equal(vhost_ring_find(&memory, &ring, &split, true, &found, &err), 0);
    assert_int_equal(found.driver, 0x2000);
    ring.desc = GPA(0x1008);
    assert_int_equal(vhost_ring_find(&memory, &ring, &split, false, &found, &err), -EINVAL);
    ring = (struct virtqueue_setup){0, 100, GPA(0x1000), GPA(0x2000), GPA(0x3000)};
    assert_int_equal(vhost_ring_find(&memory, &ring, &split, false, &found, &err), -EINVAL);
    assert_non_null(strstr(err.text, "DRV-QCFG-01"));
    guest_memory_destroy(&memory);
}

static void positions_of_both_formats(void **state)
{
    const struct fake_vring *vring = &fake_vhost.devices[0].vrings[1];
    const struct vhost_ring ring = {0x1000, 0x2000, 0x3000};
    struct virtqueue_position position = {7, 5};
    struct vhost_fd v;

    (void)state;
    assert_int_equal(open_with(&v, 0, NULL), 0);
    assert_int_equal(vhost_fd_vring_place(&v, 1, 64, position, false, &ring, NULL), 0);
    assert_int_equal(vring->num, 64);
    assert_int_equal(vring->base, 7);
    assert_int_equal(vring->address.desc_user_addr, 0x1000);
    assert_int_equal(vring->address.avail_user_addr, 0x2000);
    assert_int_equal(vring->address.used_user_addr, 0x3000);
    assert_int_equal(vhost_fd_vring_position(&v, 1, false, &position, NULL), 0);
    assert_int_equal(position.avail, 7);
    assert_int_equal(position.used, 7);

    position = (struct virtqueue_position){0x8007, 0x8005};
    assert_int_equal(vhost_fd_vring_place(&v, 1, 64, position, true, &ring, NULL), 0);
    assert_int_equal(vring->base, 0x80058007);
    assert_int_equal(vhost_fd_vring_position(&v, 1, true, &position, NULL), 0);
    assert_int_equal(position.avail, 0x8007);
    assert_int_equal(position.used, 0x8005);
    vhost_fd_close(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refusals_say_what_to_do, setup, teardown),
        cmocka_unit_test_setup_teardown(a_device_somebody_owns_is_closed_again, setup, teardown),
        cmocka_unit_test_setup_teardown(backend_features_are_those_both_know, setup, teardown),
        cmocka_unit_test_setup_teardown(features_are_64_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(all_regions_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_is_mapped_in_a_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(misses_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(rings_beyond_memory_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(positions_of_both_formats, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
