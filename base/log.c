#include "base/log.h"

#include "base/bytes.h"
#include "base/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_BURST       10
#define LOG_INTERVAL_NS UINT64_C(1000000000)

static const char *const level_names[] = {"error", "warn", "info", "debug"};

enum log_level log_threshold = LOG_WARN;
static bool log_json;
static bool log_crlf;
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;

int log_configure(const char *spec)
{
    size_t length = strcspn(spec, ",");
    bool json = false;

    if (spec[length]) {
        if (strcmp(spec + length, ",json") != 0)
            return -EINVAL;
        json = true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
        if (strlen(level_names[i]) == length && memcmp(spec, level_names[i], length) == 0) {
            log_threshold = (enum log_level)i;
            log_json = json;
            return 0;
        }
    }
    return -EINVAL;
}

const char *log_configuration(void)
{
    static const char *const json_names[] = {"error,json", "warn,json", "info,json", "debug,json"};

    return (log_json ? json_names : level_names)[log_threshold];
}

void log_set_crlf(bool on)
{
    log_crlf = on;
}

/* Room is kept for what ends a line, so a message that is too long is cut and never runs into the
 * next. */
struct line {
    size_t length;
    char text[2048];
};

#define LINE_TAIL 8

static void line_add(struct line *line, const char *text, size_t length)
{
    length = MIN(length, sizeof(line->text) - LINE_TAIL - line->length);
    memcpy(line->text + line->length, text, length);
    line->length += length;
}

static void line_add_string(struct line *line, const char *text)
{
    line_add(line, text, strlen(text));
}

static void line_end(struct line *line, const char *tail)
{
    size_t length = strlen(tail);

    memcpy(line->text + line->length, tail, length);
    line->length += length;
}

/* Length of the well-formed UTF-8 sequence at `s` (RFC 3629), or 0. The string ends with a NUL,
 * which is no continuation byte, so nothing behind it is read. */
static size_t utf8_length(const unsigned char *s)
{
    size_t length;

    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        length = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        length = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        length = 4;
    else
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

/* Messages can hold bytes a guest or a peer chose: nothing reaches a terminal but printable text.
 */
static void line_add_message(struct line *line, const char *message)
{
    const unsigned char *s = (const unsigned char *)message;

    while (*s) {
        size_t length = utf8_length(s);

        if (line->length + length > sizeof(line->text) - LINE_TAIL - 1)
            return;
        if (log_json && (*s == '"' || *s == '\\'))
            line_add(line, "\\", 1);
        if (!length || *s < 0x20 || *s == 0x7f)
            line_add(line, "?", 1);
        else
            line_add(line, (const char *)s, length);
        s += length ? length : 1;
    }
}

static void line_start_json(struct line *line, enum log_level level, const char *module)
{
    struct timespec now;
    char start[160];

    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(start, sizeof(start),
             "{\"time\":%lld.%06ld,\"level\":\"%s\",\"module\":\"%s\",\"message\":\"",
             (long long)now.tv_sec, now.tv_nsec / 1000, level_names[level], module);
    line_add_string(line, start);
}

static void line_start_text(struct line *line, enum log_level level, const char *module)
{
    char start[160];

    snprintf(start, sizeof(start), "vireo: %s: %s: ", level_names[level], module);
    line_add_string(line, start);
}

/*
 * Whoever reads the log may have stopped reading, and no thread of a machine may wait for that: a
 * line that does not fit is lost, and counted.
 */
static void line_write(const struct line *line)
{
    static atomic_uint lost;
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    unsigned before;
    char note[64];
    int length;

    if (poll(&ready, 1, 0) == 0) {
        atomic_fetch_add(&lost, 1);
        return;
    }
    before = atomic_exchange(&lost, 0);
    if (before) {
        length = snprintf(note, sizeof(note), "vireo: %u log lines were lost%s", before,
                          log_crlf ? "\r\n" : "\n");
        if (write(STDERR_FILENO, note, (size_t)length) < 0)
            return;
    }
    /* A log that cannot be written has nowhere to complain. */
    if (write(STDERR_FILENO, line->text, line->length) < 0)
        return;
}

void log_write(enum log_level level, const char *module, const char *fmt, ...)
{
    struct line line = {.length = 0};
    char message[1536];
    int saved_errno = errno;
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    if (log_json)
        line_start_json(&line, level, module);
    else
        line_start_text(&line, level, module);
    line_add_message(&line, message);
    if (log_json)
        line_end(&line, "\"}");
    line_end(&line, log_crlf ? "\r\n" : "\n");
    line_write(&line);
    errno = saved_errno;
}

/* `burst` tokens are out; one comes back at next_ns and then one every interval. */
static bool limit_take(struct log_limit *limit, uint64_t now, uint32_t *dropped)
{
    if (limit->burst && now >= limit->next_ns) {
        uint64_t back = (now - limit->next_ns) / LOG_INTERVAL_NS + 1;

        limit->next_ns += back * LOG_INTERVAL_NS;
        limit->burst -= (uint32_t)MIN(back, limit->burst);
    }
    if (limit->burst >= LOG_BURST) {
        limit->dropped++;
        return false;
    }
    if (limit->burst++ == 0)
        limit->next_ns = now + LOG_INTERVAL_NS;
    *dropped = limit->dropped;
    limit->dropped = 0;
    return true;
}

bool log_limit_pass(struct log_limit *limit)
{
    uint32_t dropped = 0;
    bool pass;

    pthread_mutex_lock(&limit_lock);
    pass = limit_take(limit, loop_now_ns(), &dropped);
    pthread_mutex_unlock(&limit_lock);
    if (dropped)
        log_write(LOG_WARN, "log", "%u messages like the next one were left out", dropped);
    return pass;
}
