/*
 * Memory of devices in a virtual machine of KVM, which a guest of a few instructions looks at.
 * Skipped where there is no KVM.
 */
#include "base/bytes.h"
#include "base/memory_guard.h"
#include "guest/dirty_log.h"
#include "kvm/internal.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE     UINT64_C(4096)
#define RAM      (1 * MIB)
#define CODE     UINT64_C(0x10000)
#define TABLES   UINT64_C(0x20000)
#define WINDOW   UINT64_C(0xc0000000) /* where memory is mapped and accesses are trapped */
#define PORT     0x10
#define REQUESTS 8 /* bytes of ports: address, value to be written (0: read) */
#define TRAPPED  0xa5a5a5a5u

/* For ever: take an address and a value from the ports, write it there or read, and tell. */
static const uint8_t code[] = {
    0x66, 0xba, PORT,     0, /* again: mov $PORT, %dx */
    0xed,                    /* in (%dx), %eax */
    0x89, 0xc3,              /* mov %eax, %ebx */
    0x66, 0xba, PORT + 4, 0, /* mov $PORT + 4, %dx */
    0xed,                    /* in (%dx), %eax */
    0x85, 0xc0,              /* test %eax, %eax */
    0x74, 0x02,              /* jz read */
    0x89, 0x03,              /* mov %eax, (%rbx) */
    0x8b, 0x03,              /* read: mov (%rbx), %eax */
    0xef,                    /* out %eax, (%dx) */
    0xeb, 0xe9,              /* jmp again */
};

struct machine {
    struct guest_memory ram;
    struct kvm_vm *vm;
    struct platform *platform;
    uint32_t address, value, answer; /* of the request */
    sem_t asked, answered;
    atomic_uint traps;
    atomic_bool failed, quits;
    const uint8_t *_Atomic behind; /* of the window, for traps; NULL: nothing */
    uint8_t *memory;               /* of a device, two pages */
};

/* --- the vCPU's side -------------------------------------------------------------------------- */

static void port_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    struct machine *m = opaque;

    if (offset == 0)
        while (!atomic_load(&m->quits) && sem_wait(&m->asked) < 0) {
        }
    store_le(data, size, offset ? m->value : m->address);
}

static void port_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    struct machine *m = opaque;

    (void)offset;
    m->answer = (uint32_t)load_le(data, size);
    sem_post(&m->answered);
}

static void window_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    struct machine *m = opaque;
    const uint8_t *behind = atomic_load(&m->behind);

    atomic_fetch_add(&m->traps, 1);
    if (behind)
        memcpy(data, behind + offset, size);
    else
        store_le(data, size, TRAPPED);
}

static void window_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    struct machine *m = opaque;

    (void)offset, (void)data, (void)size;
    atomic_fetch_add(&m->traps, 1);
}

static void ended(void *opaque, unsigned index, enum vcpu_end why, const char *detail)
{
    struct machine *m = opaque;

    (void)index, (void)why;
    fprintf(stderr, "the vCPU ended: %s\n", detail);
    atomic_store(&m->failed, true);
    sem_post(&m->answered);
}

static void nothing(void *opaque)
{
    (void)opaque;
}

/* --- the test's side -------------------------------------------------------------------------- */

static void boot(struct machine *m)
{
    const struct boot_state state = {
        .protocol = BOOT_LINUX64, .entry = CODE, .tables = GPA(TABLES)};
    const struct vcpu_events events = {
        .ended = ended, .first_entry = nothing, .first_exit = nothing, .opaque = m};

    assert_int_equal(guest_memory_write(&m->ram, GPA(CODE), code, sizeof(code)), 0);
    assert_int_equal(kvm_vcpus_setup(m->vm, &state, NULL), 0);
    assert_int_equal(kvm_vcpus_start(m->vm, &events, NULL), 0);
}

/* It goes on with any request until it is stopped. */
static void halt(struct machine *m)
{
    m->address = CODE;
    m->value = 0;
    atomic_store(&m->quits, true);
    sem_post(&m->asked);
    kvm_vcpus_stop(m->vm);
    while (sem_trywait(&m->asked) == 0 || sem_trywait(&m->answered) == 0) {
    }
    atomic_store(&m->quits, false);
}

static int set_up(void **state)
{
    struct machine *m = calloc(1, sizeof(*m));
    const struct address_range ports = {.space = ADDRESS_PIO,
                                        .base = PORT,
                                        .size = REQUESTS,
                                        .name = "requests",
                                        .read = port_read,
                                        .write = port_write,
                                        .opaque = m};
    const struct address_range window = {.space = ADDRESS_MMIO,
                                         .base = WINDOW,
                                         .size = 64 * MIB,
                                         .name = "window",
                                         .read = window_read,
                                         .write = window_write,
                                         .opaque = m};

    *state = m;
    sem_init(&m->asked, 0, 0);
    sem_init(&m->answered, 0, 0);
    guest_memory_init(&m->ram);
    assert_int_equal(guest_memory_add(&m->ram, 0, RAM, 0, NULL), 0);
    if (kvm_vm_create(&m->ram, 1, &m->vm, NULL))
        return 0;
    m->platform = kvm_vm_platform(m->vm);
    assert_int_equal(m->platform->ops->range_add(m->platform, &ports, NULL), 0);
    assert_int_equal(m->platform->ops->range_add(m->platform, &window, NULL), 0);
    m->memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    boot(m);
    return 0;
}

static int tear_down(void **state)
{
    struct machine *m = *state;

    if (m->vm) {
        halt(m);
        kvm_vm_destroy(m->vm);
        munmap(m->memory, 2 * PAGE);
    }
    guest_memory_destroy(&m->ram);
    sem_destroy(&m->asked);
    sem_destroy(&m->answered);
    free(m);
    return 0;
}

static uint32_t access_guest(struct machine *m, uint64_t address, uint32_t value)
{
    m->address = (uint32_t)address;
    m->value = value;
    sem_post(&m->asked);
    while (sem_wait(&m->answered) < 0) {
    }
    assert_false(atomic_load(&m->failed));
    return m->answer;
}

static uint32_t guest_read(struct machine *m, uint64_t address)
{
    return access_guest(m, address, 0);
}

static int map(struct machine *m, uint64_t address, void *memory, uint64_t length, bool writable)
{
    return m->platform->ops->memory_map(m->platform, address, memory, length, writable, NULL);
}

static void unmap(struct machine *m, uint64_t address)
{
    m->platform->ops->memory_unmap(m->platform, address);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void mapped_and_unmapped(void **state)
{
    struct machine *m = *state;

    if (!m->vm)
        skip();
    assert_int_equal(guest_read(m, WINDOW + PAGE), TRAPPED);
    store_le32(m->memory + 4, 0x11223344);
    assert_int_equal(map(m, WINDOW + PAGE, m->memory, 2 * PAGE, true), 0);
    atomic_store(&m->traps, 0);
    assert_int_equal(guest_read(m, WINDOW + PAGE + 4), 0x11223344);
    assert_int_equal(access_guest(m, WINDOW + 2 * PAGE, 0x55667788), 0x55667788);
    assert_int_equal(load_le32(m->memory + PAGE), 0x55667788);
    assert_int_equal(atomic_load(&m->traps), 0);
    assert_int_equal(guest_read(m, WINDOW), TRAPPED); /* beside it */
    assert_int_equal(guest_read(m, WINDOW + 3 * PAGE), TRAPPED);
    unmap(m, WINDOW + PAGE);
    assert_int_equal(guest_read(m, WINDOW + PAGE + 4), TRAPPED);
    assert_int_equal(access_guest(m, WINDOW + 2 * PAGE, 1), TRAPPED);
    assert_int_equal(load_le32(m->memory + PAGE), 0x55667788);
}

static void read_only(void **state)
{
    struct machine *m = *state;

    if (!m->vm)
        skip();
    store_le32(m->memory, 0x11223344);
    assert_int_equal(map(m, WINDOW, m->memory, PAGE, false), 0);
    assert_int_equal(access_guest(m, WINDOW, 0x55667788), 0x11223344);
    assert_int_equal(atomic_load(&m->traps), 1);
    unmap(m, WINDOW);
}

static void refused(void **state)
{
    struct machine *m = *state;

    if (!m->vm)
        skip();
    assert_true(map(m, 0, m->memory, PAGE, true) < 0); /* over RAM */
    assert_int_equal(map(m, WINDOW, m->memory, 2 * PAGE, true), 0);
    assert_int_equal(map(m, WINDOW + PAGE, m->memory, PAGE, true), -EEXIST);
    unmap(m, WINDOW);
    assert_int_equal(map(m, WINDOW + PAGE, m->memory, PAGE, true), 0);
    unmap(m, WINDOW + PAGE);
}

static void many(void **state)
{
    struct machine *m = *state;

    if (!m->vm)
        skip();
    store_le32(m->memory, 0x11223344);
    for (unsigned i = 0; i < 400; i++)
        assert_int_equal(map(m, WINDOW + 2 * i * PAGE, m->memory, PAGE, true), 0);
    assert_int_equal(guest_read(m, WINDOW + 2 * 399 * PAGE), 0x11223344);
    for (unsigned i = 0; i < 400; i += 2)
        unmap(m, WINDOW + 2 * i * PAGE);
    assert_int_equal(guest_read(m, WINDOW), TRAPPED);
    assert_int_equal(guest_read(m, WINDOW + 2 * 399 * PAGE), 0x11223344);
    for (unsigned i = 1; i < 400; i += 2)
        unmap(m, WINDOW + 2 * i * PAGE);
}

/* A new machine in the kernel has it, too. */
static void kept_by_reset(void **state)
{
    struct machine *m = *state;

    if (!m->vm)
        skip();
    store_le32(m->memory, 0x11223344);
    assert_int_equal(map(m, WINDOW, m->memory, PAGE, true), 0);
    halt(m);
    assert_int_equal(kvm_vm_reset(m->vm, NULL), 0);
    boot(m);
    assert_int_equal(guest_read(m, WINDOW), 0x11223344);
    unmap(m, WINDOW);
    assert_int_equal(guest_read(m, WINDOW), TRAPPED);
}

struct taken {
    uint64_t ram, device; /* pages */
};

static void count(void *opaque, gpa_t start, uint64_t pages)
{
    struct taken *taken = opaque;

    *(start.value < RAM ? &taken->ram : &taken->device) += pages;
}

/* It is no guest memory. */
static void not_logged(void **state)
{
    struct machine *m = *state;
    struct guest_memory both = m->ram;
    struct taken taken = {0, 0};
    struct dirty_log log;

    if (!m->vm)
        skip();
    assert_int_equal(guest_memory_add_external(&both, WINDOW, PAGE, m->memory, NULL), 0);
    assert_int_equal(dirty_log_create(&log, &both, NULL), 0);
    assert_int_equal(map(m, WINDOW, m->memory, PAGE, true), 0);
    assert_int_equal(kvm_vm_log_dirty(m->vm, true, NULL), 0);
    access_guest(m, WINDOW, 0x11223344);
    access_guest(m, 0x30000, 0x11223344);
    assert_int_equal(kvm_vm_take_dirty(m->vm, &log, NULL), 0);
    dirty_log_take(&log, count, &taken);
    assert_true(taken.ram);
    assert_int_equal(taken.device, 0);
    unmap(m, WINDOW);
    dirty_log_destroy(&log);
}

/* Somebody shortens the file: the device is told, and the guest goes on with zeroes. KVM says that
 * memory is missing, or, where it emulates the instruction, traps the access. */
static void file_shrinks(void **state)
{
    struct machine *m = *state;
    int fd = memfd_create("device", MFD_CLOEXEC), lost = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct guarded_map file;
    eventfd_t told;

    if (!m->vm)
        skip();
    assert_int_equal(ftruncate(fd, 4 * (off_t)PAGE), 0);
    assert_int_equal(pwrite(fd, "abcd", 4, 2 * (off_t)PAGE), 4);
    assert_int_equal(guarded_map_create(&file, fd, 4 * PAGE, lost, NULL), 0);
    assert_int_equal(map(m, WINDOW, file.base, 4 * PAGE, true), 0);
    assert_int_equal(guest_read(m, WINDOW + 2 * PAGE), 0x64636261);
    assert_int_equal(ftruncate(fd, (off_t)PAGE), 0);
    atomic_store(&m->behind, file.base);
    assert_int_equal(guest_read(m, WINDOW + 2 * PAGE), 0);
    assert_int_equal(eventfd_read(lost, &told), 0);
    assert_int_equal(access_guest(m, WINDOW + 3 * PAGE, 7), 7);
    unmap(m, WINDOW);
    atomic_store(&m->behind, NULL);
    guarded_map_destroy(&file);
    close(lost);
    close(fd);
}

/* Pages in the middle of what is mapped cannot be had, such as holes in a file for which there is
 * no room; its end can. (What KVM_RUN's failure leads to, wherever this host's KVM fails or traps.)
 */
static void middle_is_gone(void **state)
{
    struct machine *m = *state;
    int fd = memfd_create("device", MFD_CLOEXEC), lost = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct guarded_map file;
    uint8_t *end;
    eventfd_t told;

    if (!m->vm)
        skip();
    assert_int_equal(ftruncate(fd, 4 * (off_t)PAGE), 0);
    assert_int_equal(guarded_map_create(&file, fd, 4 * PAGE, lost, NULL), 0);
    end = (uint8_t *)file.base + 3 * PAGE;
    assert_ptr_equal(mmap(end, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), end);
    assert_int_equal(map(m, WINDOW, file.base, 4 * PAGE, true), 0);
    (void)kvm_memory_mended(&m->vm->vcpus[0]); /* of what other tests lost */
    assert_false(kvm_memory_mended(&m->vm->vcpus[0]));
    assert_int_equal(ftruncate(fd, (off_t)PAGE), 0);
    assert_true(kvm_memory_mended(&m->vm->vcpus[0]));
    assert_int_equal(eventfd_read(lost, &told), 0);
    assert_int_equal(guest_read(m, WINDOW + 2 * PAGE), 0);
    unmap(m, WINDOW);
    guarded_map_destroy(&file);
    close(lost);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(mapped_and_unmapped), TEST(read_only),  TEST(refused),      TEST(many),
        TEST(kept_by_reset),       TEST(not_logged), TEST(file_shrinks), TEST(middle_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
