/*
 * Logging for people and for programs: one line an event, to stderr, as text or JSON.
 *
 * Any thread may log; a line is written by one write(2), so lines never mix. Guest-triggered
 * messages must go through log_limited so that a guest cannot fill a disk.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

extern enum log_level log_threshold; /* read-only outside log.c; default LOG_WARN */

/* Parse "LEVEL[,json]" (error, warn, info, debug). Returns 0, or -EINVAL for an unknown word. */
int log_configure(const char *spec);

/* How it is configured, in the same form. */
const char *log_configuration(void);

/* While a raw-mode terminal is attached to the guest, lines need CR LF; base/terminal.c switches
 * this. */
void log_set_crlf(bool on);

void log_write(enum log_level level, const char *module, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A token bucket: `log_limited` passes 10 lines at once and then one a second, and says how many it
 * swallowed. One static object per place that logs. */
struct log_limit {
    uint64_t next_ns;
    uint32_t burst;
    uint32_t dropped;
};
bool log_limit_pass(struct log_limit *limit);

#define log_at(level, module, ...)                     \
    do {                                               \
        if ((level) <= log_threshold)                  \
            log_write((level), (module), __VA_ARGS__); \
    } while (0)

#define log_error(module, ...) log_at(LOG_ERROR, module, __VA_ARGS__)
#define log_warn(module, ...)  log_at(LOG_WARN, module, __VA_ARGS__)
#define log_info(module, ...)  log_at(LOG_INFO, module, __VA_ARGS__)
#define log_debug(module, ...) log_at(LOG_DEBUG, module, __VA_ARGS__)

/* For what a guest or a peer can trigger as often as it likes. */
#define log_limited(level, module, ...)                                  \
    do {                                                                 \
        static struct log_limit log_limit_here;                          \
        if ((level) <= log_threshold && log_limit_pass(&log_limit_here)) \
            log_write((level), (module), __VA_ARGS__);                   \
    } while (0)

#endif
