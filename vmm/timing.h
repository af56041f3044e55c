/*
 * --timing: when the stages of a boot were reached, printed when the machine ends.
 *
 * Times are CLOCK_MONOTONIC, relative to the start of the process. The first /init output is the
 * first line on the serial console that does not look like a kernel message ("[    0.123456] ...").
 */
#ifndef VMM_TIMING_H
#define VMM_TIMING_H

#include "devices/serial.h"

#include <stdio.h>

enum timing_stage {
    TIMING_READY,  /* everything is set up, vCPUs may start */
    TIMING_GUEST,  /* the first guest instruction: vCPU 0 enters the guest */
    TIMING_KERNEL, /* the kernel proper runs */
    TIMING_INIT,   /* first output of /init */
    TIMING_STAGES,
};

/* Call first thing in main. */
void timing_start(void);

/* The first mark of a stage counts; later boots of the same machine do not. */
void timing_mark(enum timing_stage stage);

/* Find TIMING_INIT in what the guest prints. */
void timing_watch_serial(struct serial *serial);

void timing_print(FILE *out);

#endif
