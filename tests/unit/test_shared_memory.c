/*
 * Shared memory regions (2.10) as memory of the guest: what a back end maps is there wherever the
 * transport shows the region, and only while it does. On both transports.
 */
#include "tests/unit/toy_rig.h"
#include "transport/shared_memory.h"
#include "virtio/builtin.h"
#include "virtio/device.h"

#include "base/bytes.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdatomic.h>

#define PAGE UINT64_C(4096)
#define BAR  PCI_BASE_ADDRESS_4

static int set_up(void **state, enum rig_kind kind)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_int_equal(toy_device_init(&f->toy, VIRTIO_ID_FS, 1, NULL), 0);
    toy_share_memory(&f->toy);
    assert_int_equal(rig_init(&f->rig, kind, &f->toy.dev, NULL), 0);
    f->driver = f->rig.driver;
    f->pci = &f->rig.pci_driver;
    for (uint32_t i = 0; i < TOY_SHARED_SIZE; i += 4)
        store_le32(f->toy.shared_memory + i, i);
    *state = f;
    return 0;
}

static int set_up_mmio(void **state)
{
    return set_up(state, RIG_MMIO);
}

static int set_up_pci(void **state)
{
    return set_up(state, RIG_PCI_MSIX);
}

static int map(struct fixture *f, uint64_t offset, uint64_t length, bool writable)
{
    return toy_map(&f->toy, offset, length, writable, NULL);
}

static uint64_t bar_address(struct fixture *f)
{
    return (pci_driver_config_read(f->pci, BAR, 4) & PCI_BASE_ADDRESS_MEM_MASK) |
           (uint64_t)pci_driver_config_read(f->pci, BAR + 4, 4) << 32;
}

static uint64_t window(struct fixture *f)
{
    return f->rig.mmio ? RIG_SHARED : bar_address(f);
}

/* Where the guest has memory at an offset of the region; NULL: accesses are trapped. */
static uint8_t *memory_at(struct fixture *f, uint64_t offset)
{
    return fake_memory_at(&f->rig.fake, window(f) + offset, 4, false);
}

static uint32_t read_at(struct fixture *f, uint64_t offset)
{
    return (uint32_t)fake_read(&f->rig.fake, ADDRESS_MMIO, window(f) + offset, 4);
}

static void write_at(struct fixture *f, uint64_t offset, uint32_t value)
{
    fake_write(&f->rig.fake, ADDRESS_MMIO, window(f) + offset, 4, value);
}

/* Only what is mapped is there, and only as long. */
static void test_parts(void **state)
{
    struct fixture *f = *state;

    assert_null(memory_at(f, PAGE));
    assert_int_equal(read_at(f, PAGE), UINT32_MAX);
    assert_int_equal(map(f, PAGE, 2 * PAGE, true), 0);
    assert_ptr_equal(memory_at(f, PAGE), f->toy.shared_memory + PAGE);
    assert_ptr_equal(memory_at(f, 3 * PAGE - 4), f->toy.shared_memory + 3 * PAGE - 4);
    assert_null(memory_at(f, PAGE - 4));
    assert_null(memory_at(f, 3 * PAGE));
    assert_int_equal(read_at(f, 3 * PAGE), UINT32_MAX);
    write_at(f, 3 * PAGE, 0x11223344);
    assert_int_equal(load_le32(f->toy.shared_memory + 3 * PAGE), 3 * PAGE);
    write_at(f, PAGE, 0x11223344);
    assert_int_equal(load_le32(f->toy.shared_memory + PAGE), 0x11223344);
    toy_unmap(&f->toy, PAGE, 2 * PAGE);
    assert_null(memory_at(f, PAGE));
    assert_int_equal(read_at(f, PAGE), UINT32_MAX);
}

static void test_read_only(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map(f, 0, PAGE, false), 0);
    assert_non_null(memory_at(f, 0));
    assert_null(fake_memory_at(&f->rig.fake, window(f), 4, true));
    write_at(f, 4, 0x11223344);
    assert_int_equal(read_at(f, 4), 4);
}

static void test_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map(f, 0, 0, true), -EINVAL);
    assert_int_equal(map(f, 100, PAGE, true), -EINVAL);
    assert_int_equal(map(f, 0, 100, true), -EINVAL);
    assert_int_equal(map(f, TOY_SHARED_SIZE, PAGE, true), -EINVAL);
    assert_int_equal(map(f, PAGE, TOY_SHARED_SIZE, true), -EINVAL);
    assert_int_equal(map(f, PAGE, UINT64_MAX - PAGE + 1, true), -EINVAL);
    assert_int_equal(map(f, PAGE, PAGE, true), 0);
    assert_int_equal(map(f, 0, 2 * PAGE, true), -EEXIST);
    assert_int_equal(map(f, PAGE, 2 * PAGE, true), -EEXIST);
    assert_int_equal(map(f, 0, PAGE, true), 0);
    assert_int_equal(map(f, 2 * PAGE, PAGE, true), 0);
}

/* What lies within the part goes, and nothing else. */
static void test_unmap_several(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map(f, 0, PAGE, true), 0);
    assert_int_equal(map(f, 2 * PAGE, PAGE, true), 0);
    assert_int_equal(map(f, PAGE, PAGE, true), 0);
    toy_unmap(&f->toy, 0, TOY_SHARED_SIZE + PAGE); /* there is no such part */
    assert_non_null(memory_at(f, 0));
    toy_unmap(&f->toy, PAGE, 3 * PAGE);
    assert_non_null(memory_at(f, 0));
    assert_null(memory_at(f, PAGE));
    assert_null(memory_at(f, 2 * PAGE));
    assert_int_equal(map(f, PAGE, 3 * PAGE, true), 0);
    toy_unmap(&f->toy, 0, 2 * PAGE); /* a mapping goes as a whole */
    assert_null(memory_at(f, 0));
    assert_non_null(memory_at(f, PAGE));
}

/* A machine without room for it: accesses are trapped, one by one. */
static void test_trapped(void **state)
{
    struct fixture *f = *state;

    f->rig.fake.fail_memory_map = ENOSPC;
    assert_int_equal(map(f, PAGE, PAGE, true), 0);
    assert_null(memory_at(f, PAGE));
    assert_int_equal(read_at(f, PAGE + 8), PAGE + 8);
    write_at(f, PAGE, 0x11223344);
    assert_int_equal(load_le32(f->toy.shared_memory + PAGE), 0x11223344);
    assert_int_equal(read_at(f, 2 * PAGE - 2), UINT32_MAX); /* across its end */
    toy_unmap(&f->toy, PAGE, PAGE);
    assert_int_equal(read_at(f, PAGE), UINT32_MAX);
}

static void test_too_many(void **state)
{
    struct fixture *f = *state;
    struct shared_memory shared;
    struct virtio_shared_region region = {.length = (SHARED_MAPPINGS_MAX + 1) * PAGE};
    const struct virtio_device dev = {.name = "many", .shared = &region, .shared_count = 1};
    struct virtio_shared_mapping mapping = {.length = PAGE, .memory = f->toy.shared_memory};

    shared_memory_init(&shared, &f->rig.fake.platform, &dev);
    for (unsigned i = 0; i < SHARED_MAPPINGS_MAX; i++, mapping.offset += PAGE)
        assert_int_equal(shared_memory_map(&shared, &mapping, NULL), 0);
    assert_int_equal(shared_memory_map(&shared, &mapping, NULL), -ENOSPC);
    shared_memory_destroy(&shared);
}

/* --- virtio-pci: the BAR ---------------------------------------------------------------------- */

static void set_bar(struct fixture *f, uint64_t address)
{
    pci_driver_config_write(f->pci, BAR, 4, (uint32_t)address);
    pci_driver_config_write(f->pci, BAR + 4, 4, (uint32_t)(address >> 32));
}

/* PCI-11: 64 bits, prefetchable, above 4 GiB where there is room. */
static void test_bar_kind(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pci_driver_config_read(f->pci, BAR, 4) & ~PCI_BASE_ADDRESS_MEM_MASK,
                     PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
    assert_int_equal(bar_address(f), RIG_MEM64);
}

static void test_bar_moves(void **state)
{
    struct fixture *f = *state;
    uint64_t before = bar_address(f), after = RIG_MEM64 + 32 * GIB;

    assert_int_equal(map(f, 0, PAGE, true), 0);
    assert_int_equal(map(f, 2 * PAGE, PAGE, false), 0);
    set_bar(f, after);
    assert_null(fake_memory_at(&f->rig.fake, before, 4, false));
    assert_ptr_equal(fake_memory_at(&f->rig.fake, after, 4, true), f->toy.shared_memory);
    assert_ptr_equal(fake_memory_at(&f->rig.fake, after + 2 * PAGE, 4, false),
                     f->toy.shared_memory + 2 * PAGE);
    assert_null(fake_memory_at(&f->rig.fake, after + 2 * PAGE, 4, true));
    set_bar(f, UINT64_MAX); /* sizing */
    assert_int_equal(f->rig.fake.memory_count, 0);
    set_bar(f, before);
    assert_ptr_equal(memory_at(f, 0), f->toy.shared_memory);
}

static void test_decoding_off(void **state)
{
    struct fixture *f = *state;
    uint32_t command = pci_driver_config_read(f->pci, PCI_COMMAND, 2);

    assert_int_equal(map(f, 0, PAGE, true), 0);
    pci_driver_config_write(f->pci, PCI_COMMAND, 2, command & ~(uint32_t)PCI_COMMAND_MEMORY);
    assert_int_equal(f->rig.fake.memory_count, 0);
    assert_int_equal(map(f, PAGE, PAGE, true), 0); /* for later */
    assert_int_equal(f->rig.fake.memory_count, 0);
    toy_unmap(&f->toy, 0, PAGE);
    pci_driver_config_write(f->pci, PCI_COMMAND, 2, command);
    assert_null(memory_at(f, 0));
    assert_ptr_equal(memory_at(f, PAGE), f->toy.shared_memory + PAGE);
}

/* --- built-in models -------------------------------------------------------------------------- */

struct sharing {
    struct virtio_builtin *builtin;
    struct rig rig;
    unsigned resets;
};

static struct virtio_shared_mapping shown = {
    .id = 2, .offset = PAGE, .length = PAGE, .writable = true, .fd = -1};

static int sharing_create(struct virtio_builtin *b, const void *options, void **out,
                          struct error *err)
{
    struct sharing *sharing = *(struct sharing *const *)options;

    sharing->builtin = b;
    assert_int_equal(virtio_builtin_add_shared(b, 1, 100, NULL), -EINVAL);
    assert_int_equal(virtio_builtin_add_shared(b, 1, 0, NULL), -EINVAL);
    *out = sharing;
    return virtio_builtin_add_shared(b, 2, 16 * PAGE, err);
}

static void sharing_destroy(void *model)
{
    (void)model;
}

static void sharing_features(void *model, struct virtio_features *out)
{
    (void)model, (void)out;
}

/* Its memory may go now. */
static void sharing_reset(void *model)
{
    struct sharing *sharing = model;

    assert_int_equal(sharing->rig.fake.memory_count, 0);
    sharing->resets++;
}

static void sharing_map(void *opaque)
{
    const struct sharing *sharing = opaque;

    assert_int_equal(virtio_builtin_shared_map(sharing->builtin, &shown, NULL), 0);
}

static void test_model(void **state)
{
    static const struct virtio_model model = {.name = "sharing",
                                              .id = VIRTIO_ID_GPU,
                                              .create = sharing_create,
                                              .destroy = sharing_destroy,
                                              .get_features = sharing_features,
                                              .reset = sharing_reset};
    static const struct virtio_features none;
    struct sharing *sharing = calloc(1, sizeof(*sharing));
    struct virtio_backend *backend;
    struct guest_memory memory;
    struct virtio_device dev;
    struct loop *loop;

    (void)state;
    guest_memory_init(&memory);
    shown.memory = aligned_alloc(PAGE, PAGE);
    assert_int_equal(loop_create(&loop, NULL), 0);
    assert_int_equal(virtio_builtin_create(&model, &sharing, &memory, loop, 1, 64, &backend, NULL),
                     0);
    assert_int_equal(
        virtio_device_init(&dev, VIRTIO_ID_GPU, "gpu0", backend, 1, 64, &none, &none, NULL), 0);
    assert_int_equal(rig_init(&sharing->rig, RIG_PCI_MSIX, &dev, NULL), 0);
    assert_int_equal(loop_start_thread(loop, "model", NULL), 0);
    loop_call(loop, sharing_map, sharing);
    assert_ptr_equal(fake_memory_at(&sharing->rig.fake, RIG_MEM64 + PAGE, 4, true), shown.memory);
    virtio_device_set_status(&dev, VIRTIO_STATUS_ACKNOWLEDGE);
    virtio_device_set_status(&dev, 0);
    assert_null(fake_memory_at(&sharing->rig.fake, RIG_MEM64 + PAGE, 4, true));
    assert_true(sharing->resets);
    loop_call(loop, sharing_map, sharing);
    rig_destroy(&sharing->rig);
    virtio_device_destroy(&dev);
    loop_join_thread(loop);
    loop_destroy(loop);
    free(shown.memory);
    free(sharing);
}

/* --- threads ---------------------------------------------------------------------------------- */

static atomic_bool done;

static void *move(void *opaque)
{
    struct fixture *f = opaque;

    for (unsigned i = 0; !atomic_load(&done); i++)
        set_bar(f, RIG_MEM64 + (i & 1 ? GIB : 0));
    return NULL;
}

/* The back end's loop maps and unmaps while a vCPU moves the BAR and another looks. */
static void test_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t mover;

    assert_int_equal(pthread_create(&mover, NULL, move, f), 0);
    for (unsigned i = 0; i < 2000; i++) {
        assert_int_equal(map(f, PAGE, PAGE, true), 0);
        fake_read(&f->rig.fake, ADDRESS_MMIO, RIG_MEM64 + PAGE, 4);
        toy_unmap(&f->toy, PAGE, PAGE);
        assert_null(fake_memory_at(&f->rig.fake, RIG_MEM64 + PAGE, 4, false));
        assert_null(fake_memory_at(&f->rig.fake, RIG_MEM64 + GIB + PAGE, 4, false));
    }
    atomic_store(&done, true);
    pthread_join(mover, NULL);
}

#define ON_BOTH(test)                                      \
    {#test " (mmio)", test, set_up_mmio, tear_down, NULL}, \
    {                                                      \
#test " (pci)", test, set_up_pci, tear_down, NULL  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_parts),
        ON_BOTH(test_read_only),
        ON_BOTH(test_refused),
        ON_BOTH(test_unmap_several),
        ON_BOTH(test_trapped),
        ON_BOTH(test_too_many),
        cmocka_unit_test_setup_teardown(test_bar_kind, set_up_pci, tear_down),
        cmocka_unit_test_setup_teardown(test_bar_moves, set_up_pci, tear_down),
        cmocka_unit_test_setup_teardown(test_decoding_off, set_up_pci, tear_down),
        cmocka_unit_test(test_model),
        cmocka_unit_test_setup_teardown(test_threads, set_up_pci, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
