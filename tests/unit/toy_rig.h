/*
 * For the tests of transports: a toy device on a transport, as a cmocka fixture.
 */
#ifndef TESTS_UNIT_TOY_RIG_H
#define TESTS_UNIT_TOY_RIG_H

#include "tests/driver/rig.h"
#include "tests/driver/toy_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct toy_device toy;
    struct rig rig;
    struct driver *driver;    /* the rig's... */
    struct mmio_driver *mmio; /* ...and, by its kind, one of these two */
    struct pci_driver *pci;
};

/* A device of type `id` (enum virtio_device_id) with so many queues; for set-up functions. */
static inline int toy_rig_set_up(void **state, enum rig_kind kind, uint16_t id, uint16_t queues)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_int_equal(toy_device_init(&f->toy, id, queues, NULL), 0);
    assert_int_equal(rig_init(&f->rig, kind, &f->toy.dev, NULL), 0);
    f->driver = f->rig.driver;
    f->mmio = &f->rig.mmio_driver;
    f->pci = &f->rig.pci_driver;
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    rig_destroy(&f->rig);
    toy_device_destroy(&f->toy);
    free(f);
    return 0;
}

#endif
