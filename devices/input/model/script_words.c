#include "devices/input/model/script_words.h"

#include "base/bytes.h"
#include "devices/display/display.h"
#include "devices/input/model/capabilities.h"

#include <ctype.h>
#include <errno.h>
#include <libevdev/libevdev.h>
#include <stdio.h>
#include <stdlib.h>

#define HOUR_NS (UINT64_C(3600) * 1000000000)

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Behind the word that begins here; NULL: it has no end. */
static char *word_end(char *at)
{
    bool quoted = *at == '"';

    if (!quoted)
        return at + strcspn(at, " \t\r");
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : NULL;
}

int input_split(char *line, char *words[INPUT_WORDS_MAX], size_t *count, struct error *err)
{
    char *at = line;

    *count = 0;
    for (;;) {
        while (is_space(*at))
            at++;
        if (!*at || *at == '#')
            return 0;
        if (*count == INPUT_WORDS_MAX)
            return error_set(err, EINVAL, "too many words");
        words[(*count)++] = at;
        at = word_end(at);
        if (!at)
            return error_set(err, EINVAL, "the text in quotes has no end");
        if (*at && !is_space(*at))
            return error_set(err, EINVAL, "a space is missing behind the text in quotes");
        if (*at)
            *at++ = '\0';
    }
}

int input_unquote(char *word, struct error *err)
{
    static const char escaped[] = "nt\"\\", meant[] = "\n\t\"\\";
    size_t length = strlen(word);
    char *out = word;

    if (length < 2 || word[0] != '"')
        return error_set(err, EINVAL, "the text must be in quotes");
    for (const char *in = word + 1; in < word + length - 1; in++) {
        const char *found;

        if (*in != '\\') {
            *out++ = *in;
            continue;
        }
        found = strchr(escaped, *++in);
        if (!found)
            return error_set(err, EINVAL, "unknown escape '\\%c' (there are \\n \\t \\\" \\\\)",
                             *in);
        *out++ = meant[found - escaped];
    }
    *out = '\0';
    return 0;
}

int input_parse_time(const char *word, uint64_t *out_ns, struct error *err)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
    char *end;
    double value = isdigit((unsigned char)*word) ? strtod(word, &end) : -1;

    for (size_t i = 0; value >= 0 && i < ARRAY_SIZE(units); i++) {
        if (strcmp(end, units[i].name) != 0)
            continue;
        if (value * units[i].ns > (double)HOUR_NS)
            return error_set(err, EINVAL, "the time '%s' is longer than an hour", word);
        *out_ns = (uint64_t)(value * units[i].ns);
        return 0;
    }
    return error_set(err, EINVAL, "'%s' is no time (as in 250us, 250ms, 1.5s)", word);
}

int input_parse_number(const char *word, int32_t min, int32_t max, int32_t *out, struct error *err)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(word, &end, 10);
    if (errno || end == word || *end || isspace((unsigned char)*word) || value < min || value > max)
        return error_set(err, EINVAL, "'%s' is no number from %d to %d", word, min, max);
    *out = (int32_t)value;
    return 0;
}

int input_parse_place(const char *word, int32_t *out, struct error *err)
{
    size_t length = strlen(word);
    char number[8];
    int ret;

    if (length == 0 || word[length - 1] != '%' || length > sizeof(number))
        return input_parse_number(word, 0, DISPLAY_ABSOLUTE_MAX, out, err);
    snprintf(number, sizeof(number), "%.*s", (int)length - 1, word);
    ret = input_parse_number(number, 0, 100, out, err);
    *out = ret ? 0 : *out * DISPLAY_ABSOLUTE_MAX / 100;
    return ret;
}

int input_parse_key(const char *name, unsigned *out, struct error *err)
{
    bool whole = strncmp(name, "KEY_", 4) == 0;
    char full[64];
    int code;

    snprintf(full, sizeof(full), "%s%s", whole ? "" : "KEY_", name);
    code = libevdev_event_code_from_name(EV_KEY, full);
    if (code < 0 || !input_is_key((unsigned)code))
        return error_set(err, EINVAL, "there is no key %s (input-event-codes.h has the names)",
                         full);
    *out = (unsigned)code;
    return 0;
}

int input_parse_button(const char *name, unsigned *out, struct error *err)
{
    static const char *const names[] = {"left",    "right", "middle", "side", "extra",
                                        "forward", "back",  "task"}; /* from BTN_LEFT on */

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(names[i], name) == 0) {
            *out = BTN_LEFT + i;
            return 0;
        }
    return error_set(err, EINVAL,
                     "there is no button '%s' (left, right, middle, side, extra, forward, back, "
                     "task)",
                     name);
}

int input_find_character(char character, unsigned *code, bool *shift, struct error *err)
{
    static const char plain[] = "1234567890-=\tqwertyuiop[]\nasdfghjkl;'`\\zxcvbnm,./ ";
    static const char shifted[] = "!@#$%^&*()_+\tQWERTYUIOP{}\nASDFGHJKL:\"~|ZXCVBNM<>? ";
    static const uint8_t codes[] = {
        KEY_1,         KEY_2,          KEY_3,         KEY_4,          KEY_5,     KEY_6,   KEY_7,
        KEY_8,         KEY_9,          KEY_0,         KEY_MINUS,      KEY_EQUAL, KEY_TAB, KEY_Q,
        KEY_W,         KEY_E,          KEY_R,         KEY_T,          KEY_Y,     KEY_U,   KEY_I,
        KEY_O,         KEY_P,          KEY_LEFTBRACE, KEY_RIGHTBRACE, KEY_ENTER, KEY_A,   KEY_S,
        KEY_D,         KEY_F,          KEY_G,         KEY_H,          KEY_J,     KEY_K,   KEY_L,
        KEY_SEMICOLON, KEY_APOSTROPHE, KEY_GRAVE,     KEY_BACKSLASH,  KEY_Z,     KEY_X,   KEY_C,
        KEY_V,         KEY_B,          KEY_N,         KEY_M,          KEY_COMMA, KEY_DOT, KEY_SLASH,
        KEY_SPACE,
    };
    const char *at = strchr(plain, character);

    *shift = !at;
    if (!at)
        at = strchr(shifted, character);
    if (!at || !character)
        return error_set(err, EINVAL, "a US keyboard has no key for byte 0x%02x",
                         (unsigned char)character);
    *code = codes[at - (*shift ? shifted : plain)];
    return 0;
}
