/*
 * The machine's display, if anything in it has to do with one: made before the devices, opened to
 * viewers before the guest runs. Main thread.
 */
#ifndef VMM_MACHINE_DISPLAY_H
#define VMM_MACHINE_DISPLAY_H

#include "base/error.h"
#include "devices/display/viewer.h"
#include "vmm/config.h"
#include "vmm/iothread.h"

#include <stddef.h>

struct machine_display {
    struct loop *loop;
    struct display *display; /* NULL: there is none */
    struct display_viewer_setup **viewers;
    size_t viewer_count;
};

/* Checks the options of all viewers; opens none. `closed` is called on the display's loop when its
 * user has closed a window. */
int machine_display_create(struct machine_display *d, struct vm_config *config,
                           struct iothreads *threads, void (*closed)(void *opaque), void *opaque,
                           struct error *err);

/* The loops run by now. */
int machine_display_open(struct machine_display *d, const struct vm_config *config,
                         struct error *err);

/* Write the screenshots that the user asked for. Nothing where there is no display. */
void machine_display_save(struct machine_display *d);

/* No vCPU runs any more, but the loops do: the viewers go, after they have saved and told what was
 * asked of them. */
void machine_display_end(struct machine_display *d, bool save, bool timing);

/* The devices are gone, the loops stopped. */
void machine_display_destroy(struct machine_display *d);

#endif
