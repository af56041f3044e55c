/*
 * Interrupts by eventfds that others signal (virtio/call.h), through each transport: PCII-*,
 * MMIO-11.
 */
#include "tests/unit/toy_rig.h"

#include "base/bytes.h"
#include "virtio/call.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define QUEUES 3

struct calls {
    struct fixture *f;
    struct loop *loop;
    struct loop_task stop;
    struct virtio_call call[QUEUES];
};

static int set_up(void **state, enum rig_kind kind)
{
    struct calls *c = calloc(1, sizeof(*c));
    const struct virtio_features wanted = {.word = {0, 1, 0, 0}};

    assert_int_equal(toy_rig_set_up((void **)&c->f, kind, VIRTIO_ID_NET, QUEUES), 0);
    assert_int_equal(loop_create(&c->loop, NULL), 0);
    assert_true(driver_negotiate(c->f->driver, &wanted, NULL));
    for (uint16_t i = 0; i < QUEUES; i++) {
        uint64_t base = UINT64_C(0x10000) * i;
        c->f->driver->ops->queue_enable(c->f->driver, i, 64, base, base + 0x4000, base + 0x8000);
    }
    driver_ok(c->f->driver);
    for (uint16_t i = 0; i < QUEUES; i++)
        assert_int_equal(
            virtio_call_create(&c->call[i], &c->f->toy.backend->backend, i, c->loop, NULL), 0);
    *state = c;
    return 0;
}

static int set_up_msix(void **state)
{
    return set_up(state, RIG_PCI_MSIX);
}

static int set_up_intx(void **state)
{
    return set_up(state, RIG_PCI_INTX);
}

static int set_up_mmio(void **state)
{
    return set_up(state, RIG_MMIO);
}

static int tear_down_calls(void **state)
{
    struct calls *c = *state;

    for (uint16_t i = 0; i < QUEUES; i++)
        virtio_call_destroy(&c->call[i], c->loop);
    loop_destroy(c->loop);
    tear_down((void **)&c->f);
    free(c);
    return 0;
}

static void stop_loop(struct loop_task *self)
{
    loop_stop(container_of(self, struct calls, stop)->loop);
}

/* What waits on the loop happens. */
static void run_loop(struct calls *c)
{
    c->stop.run = stop_loop;
    loop_post(c->loop, &c->stop);
    loop_run(c->loop);
}

static void signal_call(int fd)
{
    assert_int_equal(eventfd_write(fd, 1), 0);
}

static bool take_message(struct calls *c, uint32_t vector)
{
    struct msi_message message;

    return fake_take_msi(&c->f->rig.fake, &message) && message.address == PCI_DRIVER_MSI_ADDRESS &&
           message.data == PCI_DRIVER_MSI_DATA + vector;
}

static void mask(struct calls *c, uint32_t vector, bool on)
{
    fake_write(&c->f->rig.fake, ADDRESS_MMIO,
               c->f->pci->msix_table + vector * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL, 4,
               on);
}

/* Each queue's signals are its vector's messages, and nothing of ours sends them. */
static void test_messages(void **state)
{
    struct calls *c = *state;
    int fd[QUEUES];

    for (uint16_t i = 0; i < QUEUES; i++)
        fd[i] = virtio_call_connect(&c->call[i]);
    for (uint16_t i = 0; i < QUEUES; i++) {
        assert_int_equal(virtio_call_connect(&c->call[i]), fd[i]); /* which changes nothing */
        signal_call(fd[i]);
        assert_true(take_message(c, 1 + i));
    }
    assert_int_equal(c->f->rig.fake.counts.msi_send, 0);
    assert_int_equal(c->f->rig.fake.counts.msi_irqfd_add, QUEUES);
    virtio_call_disconnect(&c->call[0]);
    virtio_call_disconnect(&c->call[0]);
    signal_call(fd[0]);
    assert_false(take_message(c, 1));
}

/* PCII-10: while its vector is masked a queue's signals are pending, whoever gave them. */
static void test_masked(void **state)
{
    struct calls *c = *state;
    struct fake_platform *fake = &c->f->rig.fake;
    int fd = virtio_call_connect(&c->call[1]);

    mask(c, 2, true);
    assert_int_equal(fake->msi_irqfd_count, 0);
    signal_call(fd);
    run_loop(c);
    assert_false(take_message(c, 2));
    assert_int_equal(fake_read(fake, ADDRESS_MMIO, c->f->pci->msix_pba, 8), 1 << 2);
    mask(c, 2, false);
    assert_true(take_message(c, 2));
    assert_int_equal(fake->msi_irqfd_count, 1);

    /* A signal that the loop has not seen yet is not lost either. */
    mask(c, 2, true);
    signal_call(fd);
    mask(c, 2, false);
    assert_true(take_message(c, 2));
    assert_false(take_message(c, 2));
}

/* The message is the table's, also when it changes; a vector may change, too, or go away. */
static void test_vector_changes(void **state)
{
    struct calls *c = *state;
    struct fake_platform *fake = &c->f->rig.fake;
    struct pci_driver *pci = c->f->pci;
    int fd = virtio_call_connect(&c->call[0]);

    fake_write(fake, ADDRESS_MMIO, pci->msix_table + PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_DATA, 4,
               PCI_DRIVER_MSI_DATA + 9);
    signal_call(fd);
    assert_true(take_message(c, 9));

    pci_driver_common_write(pci, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
    pci_driver_common_write(pci, VIRTIO_PCI_COMMON_Q_MSIX, 2, 3);
    signal_call(fd);
    assert_true(take_message(c, 3));

    pci_driver_common_write(pci, VIRTIO_PCI_COMMON_Q_MSIX, 2, VIRTIO_MSI_NO_VECTOR); /* PCII-09 */
    signal_call(fd);
    run_loop(c);
    assert_false(take_message(c, 3));
    assert_int_equal(fake->msi_irqfd_count, 0);
}

/* With MSI-X off the line rises, and the ISR says why; on again, messages are sent. */
static void test_msix_off(void **state)
{
    struct calls *c = *state;
    struct pci_driver *pci = c->f->pci;
    uint32_t flags = pci->msix_capability + PCI_MSIX_FLAGS;
    uint32_t on = pci_driver_config_read(pci, flags, 2);
    int fd = virtio_call_connect(&c->call[0]);

    pci_driver_config_write(pci, flags, 2, on & ~(uint32_t)PCI_MSIX_FLAGS_ENABLE);
    assert_int_equal(c->f->rig.fake.msi_irqfd_count, 0);
    signal_call(fd);
    run_loop(c);
    assert_true(fake_level(&c->f->rig.fake, pci->gsi));
    assert_int_equal(fake_read(&c->f->rig.fake, ADDRESS_MMIO, pci->isr, 1), 1);
    pci_driver_config_write(pci, flags, 2, on);
    signal_call(fd);
    assert_true(take_message(c, 1));
}

/* When the kernel refuses, interrupts take the long way. */
static void test_refused(void **state)
{
    struct calls *c = *state;
    int fd;

    c->f->rig.fake.fail_irqfd_add = ENOSPC;
    fd = virtio_call_connect(&c->call[0]);
    signal_call(fd);
    run_loop(c);
    assert_true(take_message(c, 1));
    assert_int_equal(c->f->rig.fake.counts.msi_send, 1);
}

static void test_intx(void **state)
{
    struct calls *c = *state;
    int fd = virtio_call_connect(&c->call[0]);

    assert_int_equal(c->f->rig.fake.msi_irqfd_count, 0);
    signal_call(fd);
    run_loop(c);
    assert_true(fake_level(&c->f->rig.fake, c->f->pci->gsi));
}

/* MMIO-11: signals are edges on the line, and InterruptStatus says so as long as it may be so. */
static void test_mmio(void **state)
{
    struct calls *c = *state;
    struct mmio_driver *mmio = c->f->mmio;
    struct fake_platform *fake = &c->f->rig.fake;
    int fd = virtio_call_connect(&c->call[0]);

    virtio_call_connect(&c->call[1]);
    signal_call(fd);
    assert_int_equal(fake_take_edges(fake, RIG_MMIO_GSI), 1);
    assert_int_equal(mmio_driver_read(mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    mmio_driver_write(mmio, VIRTIO_MMIO_INTERRUPT_ACK, 1);
    assert_int_equal(fake_take_edges(fake, RIG_MMIO_GSI), 0);
    assert_int_equal(mmio_driver_read(mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    virtio_call_disconnect(&c->call[0]);
    assert_int_equal(mmio_driver_read(mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    virtio_call_disconnect(&c->call[1]);
    assert_int_equal(mmio_driver_read(mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_messages, set_up_msix, tear_down_calls),
        cmocka_unit_test_setup_teardown(test_masked, set_up_msix, tear_down_calls),
        cmocka_unit_test_setup_teardown(test_vector_changes, set_up_msix, tear_down_calls),
        cmocka_unit_test_setup_teardown(test_msix_off, set_up_msix, tear_down_calls),
        cmocka_unit_test_setup_teardown(test_refused, set_up_msix, tear_down_calls),
        cmocka_unit_test_setup_teardown(test_intx, set_up_intx, tear_down_calls),
        cmocka_unit_test_setup_teardown(test_mmio, set_up_mmio, tear_down_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
