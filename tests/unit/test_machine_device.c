/*
 * Devices as a user asks for them: options, errors, feature switches, slots.
 */
#include "base/bytes.h"
#include "devices/blk/blk.h"
#include "tests/driver/fake_platform.h"
#include "tests/driver/vhost_peer.h"
#include "transport/virtio_pci.h"
#include "vmm/layout_x86_64.h"
#include "vmm/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define DEVICES_MAX 40

/* The one image serves all: those who only read may share it. */
static char image[] = "/tmp/vireo-image-XXXXXX";

struct fixture {
    struct guest_memory memory;
    struct iothreads iothreads;
    struct pci_bus *bus;
    struct device_site site;
    struct machine_device *devices[DEVICES_MAX];
    size_t count;
    struct error err;
};

static struct fixture f;

static int set_up(void **state)
{
    const struct pci_bus_config bus = {
        .platform = dry_run_platform(),
        .ecam = {LAYOUT_ECAM, LAYOUT_ECAM_SIZE},
        .mem32 = {LAYOUT_PCI32, LAYOUT_PCI32_SIZE},
        .io = {LAYOUT_PCI_IO, LAYOUT_PCI_IO_SIZE},
        .gsi_base = LAYOUT_GSI_PCI,
        .gsi_count = LAYOUT_GSI_PCI_COUNT,
        .ports = true,
    };

    (void)state;
    f = (struct fixture){0};
    guest_memory_init(&f.memory);
    assert_int_equal(guest_memory_add(&f.memory, 0, MIB, 0, &f.err), 0);
    assert_int_equal(pci_bus_create(&bus, &f.bus, &f.err), 0);
    f.site = (struct device_site){
        .platform = dry_run_platform(),
        .memory = &f.memory,
        .iothreads = &f.iothreads,
        .cpus = 2,
        .bus = f.bus,
    };
    return 0;
}

static void unplug_all(void)
{
    while (f.count)
        machine_device_destroy(f.devices[--f.count]);
    f.site.mmio_used = 0;
}

static int tear_down(void **state)
{
    (void)state;
    unplug_all();
    pci_bus_destroy(f.bus);
    iothreads_free(&f.iothreads);
    guest_memory_destroy(&f.memory);
    return 0;
}

/* As --device TYPE,OPTIONS. */
static int create(const char *type, const char *options, struct machine_device **out)
{
    struct device_config config = {.type = (char *)type};
    char origin[200], id[32];
    int ret;

    snprintf(origin, sizeof(origin), "--device %s", type);
    f.err = (struct error)ERROR_INIT;
    ret = option_list_parse(&config.options, origin, options, NULL, &f.err);
    snprintf(id, sizeof(id), "%s%zu", type, f.count);
    if (!ret)
        ret = machine_device_create(&config, id, &f.site, out, &f.err);
    option_list_free(&config.options);
    return ret;
}

/* A disk with these options after its path; destroyed with the fixture. */
static struct machine_device *plug(const char *options)
{
    struct machine_device *device = NULL;
    char text[256];

    snprintf(text, sizeof(text), "path=%s,%s", image, options);
    if (create("blk", text, &device))
        fail_msg("%s: %s", options, f.err.text);
    f.devices[f.count++] = device;
    return device;
}

static void assert_refused(const char *options, int code, const char *message)
{
    struct machine_device *device = NULL;
    char text[256];

    snprintf(text, sizeof(text), "path=%s%s%s", image, *options ? "," : "", options);
    assert_int_equal(create("blk", text, &device), -code);
    assert_null(device);
    assert_string_equal(f.err.text, message);
}

static bool offers(const struct machine_device *device, unsigned bit)
{
    return features_has(&device->virtio.offered, bit);
}

/* --- defaults -------------------------------------------------------------------------------- */

static void defaults(void **state)
{
    struct machine_device *first = plug("readonly"), *second = plug("readonly,id=mine"),
                          *third = plug("readonly,transport=mmio");

    (void)state;
    assert_ptr_equal(first->setup.model, &blk_model);
    assert_string_equal(first->setup.common.id, "blk0");
    assert_string_equal(first->virtio.name, "blk0");
    assert_string_equal(second->setup.common.id, "mine");
    assert_string_equal(third->setup.common.id, "blk2"); /* counted over all devices */

    assert_int_equal(first->slot.transport, TRANSPORT_PCI);
    assert_non_null(first->pci);
    assert_null(first->mmio);
    assert_int_equal(first->address, 1);
    assert_int_equal(second->address, 2);
    assert_null(third->pci);
    assert_int_equal(third->address, LAYOUT_MMIO);
    assert_int_equal(third->gsi, LAYOUT_GSI_MMIO);

    assert_int_equal(first->virtio.queue_count, f.site.cpus); /* one for each vCPU */
    assert_int_equal(first->virtio.queues[0].size_max, blk_model.queue_size_default);
    assert_int_equal(first->virtio.id, VIRTIO_ID_BLOCK);
}

/* A network card counts its queues in pairs, and has one more for control. */
static void network_cards(void **state)
{
    struct machine_device *device = NULL;

    (void)state;
    assert_int_equal(create("net", "host=none,queues=3,mac=52:54:00:12:34:56", &device), 0);
    f.devices[f.count++] = device;
    assert_int_equal(device->virtio.queue_count, 7);
    assert_int_equal(device->virtio.id, VIRTIO_ID_NET);
    assert_int_equal(create("net", "host=none,mac=1:2", &device), -EINVAL);
    assert_string_equal(f.err.text,
                        "--device net: mac: '1:2' is no address like 52:54:00:12:34:56");
    assert_int_equal(create("net", "host=none,mtu=67", &device), -EINVAL);
    assert_int_equal(create("net", "host=none,queues=257", &device), -EINVAL);
    assert_int_equal(create("net", "host=none,mq=on", &device), -EINVAL); /* with one pair */
    assert_int_equal(create("net", "host=none,ctrl_vq=off", &device), 0); /* takes others with it */
    f.devices[f.count++] = device;
    assert_false(offers(device, 18 /* CTRL_RX */) || offers(device, 57 /* HASH_REPORT */));
}

/* Whatever the host has, these are ours, or nobody's. */
static void who_serves(void **state)
{
    struct machine_device *device = NULL;

    (void)state;
    assert_int_equal(create("net", "host=none,backend=auto,rss=on", &device), 0);
    f.devices[f.count++] = device;
    assert_true(offers(device, 60 /* RSS */));
    assert_int_equal(create("net", "host=none,backend=vhost", &device), -EINVAL);
    assert_string_equal(f.err.text,
                        "--device net: backend=vhost goes with a TAP interface (host=tap)");
    assert_int_equal(create("rng", "backend=vhost", &device), -ENOTSUP);
    assert_string_equal(f.err.text, "--device rng: the kernel has no vhost for rng devices");
    assert_int_equal(create("rng", "backend=auto", &device), 0);
    f.devices[f.count++] = device;
    assert_int_equal(create("vsock", "cid=3,backend=builtin", &device), -ENOTSUP);
    assert_int_equal(create("vsock", "cid=2", &device), -EINVAL); /* VSK-03 */
    assert_int_equal(create("vsock", "cid=3,socket=/none", &device), -EINVAL);
}

static void given_sizes(void **state)
{
    struct machine_device *device = plug("readonly,queues=64,queue-size=1024");

    (void)state;
    assert_int_equal(device->virtio.queue_count, 64);
    assert_int_equal(device->virtio.queues[63].size_max, 1024);
    assert_int_equal(plug("readonly,queue-size=1")->virtio.queues[0].size_max, 1);
    assert_int_equal(plug("readonly,queue-size=32768")->virtio.queues[0].size_max, 32768);
}

static void threads(void **state)
{
    struct loop *shared, *own;

    (void)state;
    plug("readonly,iothread=mine");
    plug("readonly");
    plug("readonly,iothread=mine");
    assert_int_equal(f.iothreads.count, 2);
    assert_int_equal(iothreads_get(&f.iothreads, IOTHREAD_DEFAULT, &shared, &f.err), 0);
    assert_int_equal(iothreads_get(&f.iothreads, "mine", &own, &f.err), 0);
    assert_ptr_not_equal(shared, own);
    assert_int_equal(f.iothreads.count, 2);
}

/* --- errors ---------------------------------------------------------------------------------- */

static void types(void **state)
{
    struct machine_device *device = NULL;

    (void)state;
    assert_int_equal(create("bkl", "", &device), -EINVAL);
    assert_string_equal(f.err.text, "--device bkl: no device type 'bkl' (did you mean 'blk'?)");
    assert_int_equal(create("toaster", "", &device), -EINVAL);
    assert_string_equal(
        f.err.text, "--device toaster: no device type 'toaster'; 'vireo help device' lists them");
    assert_int_equal(create("", "", &device), -EINVAL);
    assert_null(device);
    assert_null(device_model_find("BLK"));
    assert_ptr_equal(device_model_find("blk"), &blk_model);
}

static void keys(void **state)
{
    struct machine_device *device = NULL;

    (void)state;
    assert_refused("reedonly=on", EINVAL,
                   "--device blk: unknown key 'reedonly' (did you mean 'readonly'?)");
    assert_refused("evnt_idx=off", EINVAL,
                   "--device blk: unknown key 'evnt_idx' (did you mean 'event_idx'?)");
    assert_refused("queue_size=8", EINVAL,
                   "--device blk: unknown key 'queue_size' (did you mean 'queue-size'?)");
    assert_refused("flash=off", EINVAL,
                   "--device blk: unknown key 'flash' (did you mean 'flush'?)");
    assert_refused("frobnicate=1", EINVAL, "--device blk: unknown key 'frobnicate'");
    assert_int_equal(create("blk", "readonly=on", &device), -EINVAL);
    assert_string_equal(f.err.text, "--device blk: key 'path' is missing");
}

static void values(void **state)
{
    (void)state;
    assert_refused("readonly=2", EINVAL, "--device blk: readonly: '2' is neither on nor off");
    assert_refused("flush=maybe", EINVAL, "--device blk: flush: 'maybe' is neither on nor off");
    assert_refused("event_idx=1", EINVAL, "--device blk: event_idx: '1' is neither on nor off");
    assert_refused("transport=isa", EINVAL,
                   "--device blk: transport: unknown value 'isa' (known: mmio, pci)");
    assert_refused("queues=0", EINVAL, "--device blk: queues: 0 is out of range (1 to 1024)");
    assert_refused("queues=65", EINVAL, "--device blk: queues: blk has at most 64");
    assert_refused("queue-size=100", EINVAL,
                   "--device blk: queue-size: must be a power of two without ring_packed=on");
    assert_refused("queue-size=0", EINVAL,
                   "--device blk: queue-size: 0 is out of range (1 to 32768)");
    assert_refused("queue-size=65536", EINVAL,
                   "--device blk: queue-size: 65536 is out of range (1 to 32768)");
    assert_refused("serial=123456789012345678901", EINVAL,
                   "--device blk: serial: '123456789012345678901' has 21 bytes, 20 is the most");
}

/* legacy=, vectors= and page-per-vq=, and what they do not go with */
static void interfaces(void **state)
{
    struct machine_device *device;

    (void)state;
    device = plug("readonly,legacy=on");
    assert_true(offers(device, VIRTIO_F_VERSION_1)); /* to modern drivers */
    device = plug("readonly,legacy=on,transport=mmio");
    assert_false(offers(device, VIRTIO_F_VERSION_1));
    assert_refused("readonly,legacy=on,transport=mmio,ring_packed=on", EINVAL,
                   "--device blk: ring_packed: cannot be offered with the other options given");
    assert_int_equal(plug("readonly")->vectors, VIRTIO_PCI_VECTORS_DEFAULT);
    assert_int_equal(plug("readonly,vectors=0")->vectors, 0);
    assert_int_equal(plug("readonly,vectors=2048")->vectors, 2048);
    assert_refused("readonly,vectors=2049", EINVAL,
                   "--device blk: vectors: 2049 is out of range (0 to 2048)");
    assert_refused("readonly,vectors=few", EINVAL, "--device blk: vectors: 'few' is not a number");
    assert_refused("readonly,vectors=2,transport=mmio", EINVAL,
                   "--device blk: vectors: of PCI devices, but transport=mmio");
    assert_refused("readonly,page-per-vq=on,transport=mmio", EINVAL,
                   "--device blk: page-per-vq: of PCI devices, but transport=mmio");
}

/* FEAT-15, PACK-01: what fits one transport, or one kind of ring, alone */
static void features_that_depend(void **state)
{
    (void)state;
    assert_true(offers(plug("readonly,notif_config_data=on"), VIRTIO_F_NOTIF_CONFIG_DATA));
    assert_refused(
        "readonly,notif_config_data=on,transport=mmio", EINVAL,
        "--device blk: notif_config_data: cannot be offered with the other options given");
    assert_int_equal(plug("readonly,ring_packed=on,queue-size=100")->virtio.queues[0].size_max,
                     100);
}

static void images(void **state)
{
    struct machine_device *device = NULL;
    char text[128];

    (void)state;
    assert_int_equal(create("blk", "path=/nonexistent/a.img", &device), -ENOENT);
    assert_memory_equal(f.err.text, "--device blk: ", 14);
    assert_non_null(strstr(f.err.text, "/nonexistent/a.img"));
    plug("id=writer");
    snprintf(text, sizeof(text), "path=%s,readonly", image);
    assert_int_equal(create("blk", text, &device), -EBUSY);
    assert_null(device);
    unplug_all();
    plug("id=again"); /* what was refused, and what is gone, left no lock behind */
}

/* --- slots ----------------------------------------------------------------------------------- */

static void pci_slots(void **state)
{
    char message[80];

    (void)state;
    assert_int_equal(plug("readonly,addr=2")->address, 2);
    assert_int_equal(plug("readonly")->address, 1);
    assert_int_equal(plug("readonly")->address, 3); /* the lowest free one */
    assert_int_equal(plug("readonly,addr=31")->address, 31);
    assert_refused("readonly,addr=2", EBUSY, "--device blk: PCI slot 2 is taken");
    assert_refused("readonly,addr=0", EINVAL, "--device blk: addr: 0 is out of range (1 to 31)");
    assert_refused("readonly,addr=32", EINVAL, "--device blk: addr: 32 is out of range (1 to 31)");
    while (f.count < PCI_SLOTS - 1)
        plug("readonly");
    assert_int_equal(pci_bus_slots(f.bus), UINT32_MAX);
    snprintf(message, sizeof(message), "--device blk: all %d slots of the PCI bus are taken",
             PCI_SLOTS);
    assert_refused("readonly", ENOSPC, message);

    /* The other transport has room still. */
    assert_int_equal(plug("readonly,transport=mmio")->address, LAYOUT_MMIO);
}

/* PCIL-01: there is room for the I/O BARs of as many. */
static void legacy_pci_slots(void **state)
{
    (void)state;
    while (f.count < PCI_SLOTS - 1)
        plug("readonly,legacy=on");
    assert_int_equal(pci_bus_slots(f.bus), UINT32_MAX);
}

static void mmio_slots(void **state)
{
    (void)state;
    assert_refused("transport=mmio,addr=3", EINVAL,
                   "--device blk: addr: a PCI slot, but transport=mmio");
    assert_int_equal(f.site.mmio_used, 0);
    for (unsigned i = 0; i < LAYOUT_MMIO_SLOTS; i++) {
        struct machine_device *device = plug("readonly,transport=mmio");
        assert_int_equal(device->address, LAYOUT_MMIO + 0x1000 * i);
        assert_int_equal(device->gsi, LAYOUT_GSI_MMIO + i);
    }
    assert_refused("readonly,transport=mmio", ENOSPC,
                   "--device blk: a machine holds at most 8 virtio-mmio devices");
    assert_int_equal(plug("readonly,transport=pci")->address, 1);
}

/* What the machine refuses leaves nothing registered behind. */
static void failures_are_undone(void **state)
{
    struct fake_platform fake;
    struct machine_device *device = NULL;
    char text[128];

    (void)state;
    fake_platform_init(&fake);
    f.site.platform = &fake.platform;
    snprintf(text, sizeof(text), "path=%s,transport=mmio", image);
    fake.fail_range_add = EEXIST;
    assert_int_equal(create("blk", text, &device), -EEXIST);
    fake.fail_range_add = 0;
    fake.fail_irqfd_add = ENOSPC;
    assert_int_equal(create("blk", text, &device), -ENOSPC);
    fake.fail_irqfd_add = 0;
    assert_null(device);
    assert_int_equal(f.site.mmio_used, 0);
    snprintf(text, sizeof(text), "path=%s,transport=mmio,queues=1,mq=on",
             image); /* found out last */
    assert_int_equal(create("blk", text, &device), -EINVAL);
    assert_null(device);
    fake_platform_destroy(&fake); /* checks that all is unregistered */
    f.site.platform = dry_run_platform();
}

/* --- features -------------------------------------------------------------------------------- */

static void features_by_default(void **state)
{
    struct machine_device *device = plug("readonly=off");

    (void)state;
    assert_true(offers(device, VIRTIO_F_VERSION_1));
    assert_true(offers(device, VIRTIO_F_EVENT_IDX));
    assert_true(offers(device, VIRTIO_F_INDIRECT_DESC));
    assert_true(offers(device, VIRTIO_BLK_F_FLUSH));
    assert_true(offers(device, VIRTIO_BLK_F_CONFIG_WCE));
    assert_false(offers(device, VIRTIO_BLK_F_RO));
    assert_true(offers(device, VIRTIO_BLK_F_MQ)); /* a queue for each of 2 CPUs */
}

/* Each switch takes away its bit, those that need it, and no other. */
static void features_switched_off(void **state)
{
    static const struct {
        const char *options;
        uint64_t bits;
    } rows[] = {
        {"event_idx=off", BIT(VIRTIO_F_EVENT_IDX)},
        {"indirect_desc=off", BIT(VIRTIO_F_INDIRECT_DESC)},
        {"event_idx=no,indirect_desc=false", BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_INDIRECT_DESC)},
        {"flush=off", BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_CONFIG_WCE)},
        {"config_wce=off", BIT(VIRTIO_BLK_F_CONFIG_WCE)},
        {"seg_max=off", BIT(VIRTIO_BLK_F_SEG_MAX)},
        {"blk_size=off", BIT(VIRTIO_BLK_F_BLK_SIZE)},
        {"topology=off", BIT(VIRTIO_BLK_F_TOPOLOGY)},
        {"mq=off", BIT(VIRTIO_BLK_F_MQ)},
        {"ro=off", BIT(VIRTIO_BLK_F_RO)},
        {"event_idx=on,flush=on,ro=on,mq", 0},
    };
    const struct virtio_features all = plug("readonly,queues=2")->virtio.offered;

    (void)state;
    assert_true(features_has(&all, VIRTIO_BLK_F_RO) && features_has(&all, VIRTIO_BLK_F_MQ));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct virtio_features wanted = all;
        char options[80];

        for (unsigned bit = 0; bit < 64; bit++)
            if (rows[i].bits & BIT(bit))
                features_set(&wanted, bit, false);
        snprintf(options, sizeof(options), "readonly,queues=2,%s", rows[i].options);
        assert_memory_equal(&plug(options)->virtio.offered, &wanted, sizeof(wanted));
    }
}

static void features_that_cannot_be_had(void **state)
{
    (void)state;
    assert_refused("ro=on", EINVAL,
                   "--device blk: ro: cannot be offered with the other options given");
    assert_refused("mq=on,queues=1", EINVAL,
                   "--device blk: mq: cannot be offered with the other options given");
    assert_refused("flush=off,config_wce=on", EINVAL,
                   "--device blk: config_wce: cannot be offered with the other options given");
    assert_refused("version_1=off", EINVAL, "--device blk: unknown key 'version_1'");
    plug("ro=off"); /* nor is it there, so there is nothing to complain about */
}

/* --- other processes -------------------------------------------------------------------------- */

/* Each but once, and none of the first three. */
static void inherited_sockets(void **state)
{
    struct guest_memory shared;
    struct vhost_peer peer;
    struct machine_device *device = NULL;
    char options[64], text[100];
    int fd;

    (void)state;
    guest_memory_init(&shared);
    assert_int_equal(guest_memory_add(&shared, 0, MIB, GUEST_MEMORY_SHARED, &f.err), 0);
    f.site.memory = &shared;
    vhost_peer_init(&peer);
    fd = vhost_peer_start(&peer);
    snprintf(options, sizeof(options), "backend=vhost-user,socket-fd=%d,queues=1", fd);
    snprintf(text, sizeof(text), "--device blk: socket-fd:%d: is in use already", fd);
    assert_int_equal(create("blk", options, &device), -EBUSY); /* one of the program's own */
    assert_string_equal(f.err.text, text);
    assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
    if (create("blk", options, &device))
        fail_msg("%s", f.err.text);
    f.devices[f.count++] = device;
    assert_true(vhost_peer_count(&peer, VHOST_USER_SET_MEM_TABLE) +
                vhost_peer_count(&peer, VHOST_USER_ADD_MEM_REG));
    assert_int_equal(create("blk", options, &device), -EBUSY); /* another device's */
    assert_string_equal(f.err.text, text);
    assert_int_equal(create("blk", "backend=vhost-user,socket-fd=2", &device), -EINVAL);
    assert_string_equal(f.err.text, "--device blk: socket-fd: 2 is out of range (3 to 2147483647)");
    unplug_all();
    vhost_peer_stop(&peer);
    guest_memory_destroy(&shared);
}

/* --------------------------------------------------------------------------------------------- */

static int make_image(void **state)
{
    int fd = mkstemp(image);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, MIB), 0);
    return close(fd);
}

static int remove_image(void **state)
{
    (void)state;
    return unlink(image);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults),
        TEST(network_cards),
        TEST(who_serves),
        TEST(given_sizes),
        TEST(threads),
        TEST(types),
        TEST(keys),
        TEST(values),
        TEST(interfaces),
        TEST(features_that_depend),
        TEST(images),
        TEST(pci_slots),
        TEST(legacy_pci_slots),
        TEST(mmio_slots),
        TEST(failures_are_undone),
        TEST(features_by_default),
        TEST(features_switched_off),
        TEST(features_that_cannot_be_had),
        TEST(inherited_sockets),
    };

    return cmocka_run_group_tests(tests, make_image, remove_image);
}
