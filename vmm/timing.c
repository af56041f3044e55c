/* --timing: when each stage of a boot was reached. The last is found in what the guest prints. */
#include "vmm/timing.h"

#include "base/bytes.h"
#include "base/loop.h"

#include <stdatomic.h>
#include <time.h>

static uint64_t start_ns;
static _Atomic uint64_t marks[TIMING_STAGES];

static const char *const stage_names[TIMING_STAGES] = {
    [TIMING_READY] = "machine ready",
    [TIMING_GUEST] = "first guest instruction",
    [TIMING_KERNEL] = "kernel entry",
    [TIMING_INIT] = "first /init output",
};

/* How the current line of the console began. */
static enum { LINE_START, LINE_KERNEL, LINE_OTHER } line_state;

void timing_start(void)
{
    struct timespec used = {0};

    /* What the process did before main (exec, dynamic linking) is the CPU time it has used so far.
     */
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    start_ns = loop_now_ns() - (uint64_t)used.tv_sec * 1000000000u - (uint64_t)used.tv_nsec;
}

void timing_mark(enum timing_stage stage)
{
    uint64_t none = 0;

    if (atomic_load_explicit(&marks[stage], memory_order_relaxed) == 0)
        atomic_compare_exchange_strong(&marks[stage], &none, loop_now_ns());
}

/* Under the serial port's lock, on the vCPU that prints. */
static void watch_output(void *opaque, const uint8_t *data, size_t len)
{
    (void)opaque;
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n' || data[i] == '\r') {
            line_state = LINE_START;
        } else if (line_state == LINE_START) {
            line_state = data[i] == '[' ? LINE_KERNEL : LINE_OTHER;
            if (line_state == LINE_OTHER)
                timing_mark(TIMING_INIT);
        }
    }
}

void timing_watch_serial(struct serial *serial)
{
    serial_set_observer(serial, watch_output, NULL);
}

void timing_print(FILE *out)
{
    fprintf(out, "timing: %10.3f ms  process start\n", 0.0);
    for (size_t i = 0; i < TIMING_STAGES; i++) {
        uint64_t mark = atomic_load(&marks[i]);
        if (mark)
            fprintf(out, "timing: %10.3f ms  %s\n", (double)(mark - start_ns) / 1e6,
                    stage_names[i]);
        else
            fprintf(out, "timing:    not reached  %s\n", stage_names[i]);
    }
}
