#include "devices/input/model/script.h"

#include "base/bytes.h"
#include "devices/input/model/capabilities.h"
#include "devices/input/model/script_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PACE_NS   (UINT64_C(10) * 1000000)
#define CHORD_MAX 8
#define BUTTONS   (DISPLAY_RELATIVE | DISPLAY_ABSOLUTE) /* kinds that have buttons and wheels */

struct parser {
    struct input_script *script;
    unsigned kinds;    /* that the device is to have; 0: any */
    bool points;       /* it uses buttons or wheels, of whatever has them */
    uint64_t delay_ns; /* before the next event */
    uint64_t pace_ns;
    bool touches[INPUT_SLOTS]; /* fingers that are down */
    uint16_t touch_count;      /* so far: their tracking ids */
};

/* --- events ----------------------------------------------------------------------------------- */

static int emit(struct parser *p, unsigned type, unsigned code, int32_t value, struct error *err)
{
    struct input_script *script = p->script;

    if (script->count == script->capacity) {
        size_t capacity = MAX(script->capacity * 2, (size_t)64);
        struct input_script_event *grown =
            realloc(script->events, capacity * sizeof(*script->events));

        if (!grown)
            return error_set(err, ENOMEM, "no memory for events");
        script->events = grown;
        script->capacity = capacity;
    }
    script->events[script->count++] =
        (struct input_script_event){p->delay_ns, {(uint16_t)type, (uint16_t)code, value}};
    p->delay_ns = 0;
    return 0;
}

static int emit_end(struct parser *p, struct error *err)
{
    return emit(p, EV_SYN, SYN_REPORT, 0, err);
}

static int emit_key(struct parser *p, unsigned code, bool down, struct error *err)
{
    int ret = emit(p, EV_KEY, code, down, err);

    return ret ? ret : emit_end(p, err);
}

/* Keys go down in this order, and come up in the other. */
static int emit_keys(struct parser *p, const unsigned *codes, size_t count, bool down, bool up,
                     struct error *err)
{
    int ret = 0;

    for (size_t i = 0; i < count && down && !ret; i++)
        ret = emit_key(p, codes[i], true, err);
    p->delay_ns += down && up ? p->pace_ns : 0;
    for (size_t i = count; i > 0 && up && !ret; i--)
        ret = emit_key(p, codes[i - 1], false, err);
    p->delay_ns += down && up ? p->pace_ns : 0;
    return ret;
}

/* --- statements ------------------------------------------------------------------------------- */

/* `how` is "down", "up" or missing: both. */
static int press(struct parser *p, const unsigned *codes, size_t count, const char *how,
                 struct error *err)
{
    bool down = how && strcmp(how, "down") == 0, up = how && strcmp(how, "up") == 0;

    if (how && !down && !up)
        return error_set(err, EINVAL, "'%s': must be down or up, or not there for both", how);
    return emit_keys(p, codes, count, down || !how, up || !how, err);
}

static int say_key(struct parser *p, char **words, size_t count, struct error *err)
{
    unsigned codes[CHORD_MAX];
    size_t keys = 0;
    char *rest = words[0], *name;

    while ((name = strsep(&rest, "+"))) {
        if (keys == CHORD_MAX)
            return error_set(err, EINVAL, "more than %d keys at once", CHORD_MAX);
        if (input_parse_key(name, &codes[keys++], err))
            return -EINVAL;
    }
    return press(p, codes, keys, count > 1 ? words[1] : NULL, err);
}

static int say_type(struct parser *p, char **words, size_t count, struct error *err)
{
    int ret = input_unquote(words[0], err);

    (void)count;
    for (const char *at = words[0]; *at && !ret; at++) {
        unsigned codes[2] = {KEY_LEFTSHIFT};
        bool shift;

        ret = input_find_character(*at, &codes[1], &shift, err);
        if (!ret)
            ret = emit_keys(p, shift ? codes : codes + 1, shift ? 2 : 1, true, true, err);
    }
    return ret;
}

static int say_button(struct parser *p, char **words, size_t count, struct error *err)
{
    unsigned code;
    int ret = input_parse_button(words[0], &code, err);

    return ret ? ret : press(p, &code, 1, count > 1 ? words[1] : NULL, err);
}

static int say_rel(struct parser *p, char **words, size_t count, struct error *err)
{
    int32_t by[2];
    int ret = 0;

    (void)count;
    for (unsigned i = 0; i < 2 && !ret; i++)
        ret =
            input_parse_number(words[i], -DISPLAY_ABSOLUTE_MAX, DISPLAY_ABSOLUTE_MAX, &by[i], err);
    for (unsigned i = 0; i < 2 && !ret; i++)
        if (by[i])
            ret = emit(p, EV_REL, REL_X + i, by[i], err);
    return ret ? ret : emit_end(p, err);
}

static int turn_wheel(struct parser *p, const char *word, unsigned coarse, unsigned fine,
                      struct error *err)
{
    int32_t notches;
    int ret = input_parse_number(word, -1000, 1000, &notches, err);

    if (!ret)
        ret = emit(p, EV_REL, coarse, notches, err);
    if (!ret)
        ret = emit(p, EV_REL, fine, notches * INPUT_WHEEL_NOTCH, err);
    return ret ? ret : emit_end(p, err);
}

static int say_wheel(struct parser *p, char **words, size_t count, struct error *err)
{
    (void)count;
    return turn_wheel(p, words[0], REL_WHEEL, REL_WHEEL_HI_RES, err);
}

static int say_hwheel(struct parser *p, char **words, size_t count, struct error *err)
{
    (void)count;
    return turn_wheel(p, words[0], REL_HWHEEL, REL_HWHEEL_HI_RES, err);
}

static int emit_place(struct parser *p, char **words, unsigned axis_x, unsigned axis_y,
                      struct error *err)
{
    int32_t x, y;
    int ret = input_parse_place(words[0], &x, err);

    if (!ret)
        ret = input_parse_place(words[1], &y, err);
    if (!ret)
        ret = emit(p, EV_ABS, axis_x, x, err);
    return ret ? ret : emit(p, EV_ABS, axis_y, y, err);
}

static int say_move(struct parser *p, char **words, size_t count, struct error *err)
{
    int ret = emit_place(p, words, ABS_X, ABS_Y, err);

    (void)count;
    return ret ? ret : emit_end(p, err);
}

/* BTN_TOUCH: whether any finger is down. */
static int emit_contact(struct parser *p, int32_t finger, bool down, struct error *err)
{
    unsigned before = 0;
    int ret;

    for (int i = 0; i < INPUT_SLOTS; i++)
        before += p->touches[i];
    p->touches[finger] = down;
    ret = emit(p, EV_ABS, ABS_MT_TRACKING_ID, down ? p->touch_count++ : -1, err);
    if (!ret && before == (down ? 0 : 1))
        ret = emit(p, EV_KEY, BTN_TOUCH, down, err);
    return ret;
}

static int say_touch(struct parser *p, char **words, size_t count, struct error *err)
{
    bool down = strcmp(words[1], "down") == 0, up = strcmp(words[1], "up") == 0;
    int32_t finger;
    int ret = input_parse_number(words[0], 0, INPUT_SLOTS - 1, &finger, err);

    if (ret)
        return ret;
    if (!down && !up && strcmp(words[1], "move") != 0)
        return error_set(err, EINVAL, "'%s': must be down, move or up", words[1]);
    if (count != (up ? 2 : 4))
        return error_set(err, EINVAL, "touch N %s takes %s", words[1],
                         up ? "nothing more" : "two places, X and Y");
    if (p->touches[finger] == down)
        return error_set(err, EINVAL, "finger %d is %s", finger,
                         down ? "down already" : "not down");
    ret = emit(p, EV_ABS, ABS_MT_SLOT, finger, err);
    if (!ret && (down || up))
        ret = emit_contact(p, finger, down, err);
    if (!ret && !up)
        ret = emit_place(p, words + 2, ABS_MT_POSITION_X, ABS_MT_POSITION_Y, err);
    return ret ? ret : emit_end(p, err);
}

static int say_wait(struct parser *p, char **words, size_t count, struct error *err)
{
    uint64_t time = 0;
    int ret = input_parse_time(words[0], &time, err);

    (void)count;
    p->delay_ns += time;
    return ret;
}

static int say_pace(struct parser *p, char **words, size_t count, struct error *err)
{
    (void)count;
    return input_parse_time(words[0], &p->pace_ns, err);
}

static const struct statement {
    const char *name;
    size_t least, most; /* words behind the name */
    unsigned kinds;     /* one of which a device must have; 0: any does */
    int (*say)(struct parser *p, char **words, size_t count, struct error *err);
    const char *usage;
} statements[] = {
    {"key", 1, 2, DISPLAY_KEYS, say_key, "key NAME[+NAME...] [down|up]"},
    {"type", 1, 1, DISPLAY_KEYS, say_type, "type \"TEXT\""},
    {"rel", 2, 2, DISPLAY_RELATIVE, say_rel, "rel X Y"},
    {"button", 1, 2, BUTTONS, say_button, "button NAME [down|up]"},
    {"wheel", 1, 1, BUTTONS, say_wheel, "wheel NOTCHES"},
    {"hwheel", 1, 1, BUTTONS, say_hwheel, "hwheel NOTCHES"},
    {"move", 2, 2, DISPLAY_ABSOLUTE, say_move, "move X Y"},
    {"touch", 2, 4, DISPLAY_TOUCH, say_touch, "touch FINGER down|move X Y, touch FINGER up"},
    {"wait", 1, 1, 0, say_wait, "wait TIME"},
    {"pace", 1, 1, 0, say_pace, "pace TIME"},
};

/* --- kinds ------------------------------------------------------------------------------------ */

static unsigned pointers_of(unsigned kinds)
{
    return kinds & ~(unsigned)DISPLAY_KEYS;
}

/* What a statement asks for, in a device of this kind or besides what the others use. */
static int use_kinds(struct parser *p, const struct statement *s, struct error *err)
{
    unsigned used = p->script->kinds, pointers;

    if (p->kinds && s->kinds && !(s->kinds & p->kinds))
        return error_set(err, EINVAL, "'%s' is not for a device of this kind=", s->name);
    if (s->kinds == BUTTONS)
        p->points = true;
    else
        used |= s->kinds;
    pointers = pointers_of(used);
    if ((pointers & (pointers - 1)) || (p->points && pointers == DISPLAY_TOUCH))
        return error_set(err, EINVAL,
                         "'%s' is not for the same device as what is before: use two, each with "
                         "kind= and a script",
                         s->name);
    p->script->kinds = used;
    return 0;
}

/* A device of some kind has all of it, else buttons are a mouse's. */
static int choose_kinds(struct parser *p, struct error *err)
{
    unsigned *kinds = &p->script->kinds;

    if (p->kinds)
        *kinds = p->kinds;
    else if (p->points && !pointers_of(*kinds))
        *kinds |= DISPLAY_RELATIVE;
    return *kinds ? 0 : error_set(err, EINVAL, "the script does nothing");
}

/* --- lines ------------------------------------------------------------------------------------ */

static const struct statement *find_statement(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(statements); i++)
        if (strcmp(statements[i].name, name) == 0)
            return &statements[i];
    return NULL;
}

static int parse_statement(struct parser *p, char **words, size_t count, struct error *err)
{
    const struct statement *s = find_statement(words[0]);
    int ret;

    if (!s)
        return error_set(err, EINVAL,
                         "unknown statement '%s' (key, type, rel, button, wheel, hwheel, move, "
                         "touch, wait, pace)",
                         words[0]);
    if (count - 1 < s->least || count - 1 > s->most)
        return error_set(err, EINVAL, "must be: %s", s->usage);
    ret = use_kinds(p, s, err);
    return ret ? ret : s->say(p, words + 1, count - 1, err);
}

static int parse_line(struct parser *p, char *line, struct error *err)
{
    char *words[INPUT_WORDS_MAX];
    uint64_t delay = 0;
    size_t count, first;
    int ret = input_split(line, words, &count, err);

    if (ret || !count)
        return ret;
    first = words[0][0] == '+';
    if (first)
        ret = input_parse_time(words[0] + 1, &delay, err);
    if (ret)
        return ret;
    if (first == count)
        return error_set(err, EINVAL, "a statement is missing behind '%s'", words[0]);
    p->delay_ns += delay;
    return parse_statement(p, words + first, count - first, err);
}

static int parse_lines(struct parser *p, char *text, struct error *err)
{
    char *line;
    int ret = 0;

    for (unsigned number = 1; !ret && (line = strsep(&text, "\n")); number++) {
        ret = parse_line(p, line, err);
        if (ret)
            error_prefix(err, "line %u", number);
    }
    return ret ? ret : choose_kinds(p, err);
}

int input_script_parse(struct input_script *script, const char *text, unsigned kinds,
                       struct error *err)
{
    struct parser p = {.script = script, .kinds = kinds, .pace_ns = PACE_NS};
    char *copy = strdup(text);
    int ret;

    *script = (struct input_script){0};
    if (!copy)
        return error_set(err, ENOMEM, "no memory for a script");
    ret = parse_lines(&p, copy, err);
    free(copy);
    if (ret)
        input_script_free(script);
    return ret;
}

static int read_text(FILE *file, char **out, struct error *err)
{
    char *text = malloc(INPUT_SCRIPT_MAX + 1);
    size_t length;

    if (!text)
        return error_set(err, ENOMEM, "no memory for a script");
    length = fread(text, 1, INPUT_SCRIPT_MAX + 1, file);
    *out = text;
    if (ferror(file))
        return error_errno(err, errno, "cannot read it");
    if (length > INPUT_SCRIPT_MAX)
        return error_set(err, EFBIG, "it is longer than %u bytes", INPUT_SCRIPT_MAX);
    text[length] = '\0';
    return strlen(text) == length ? 0 : error_set(err, EINVAL, "it is no text");
}

int input_script_load(struct input_script *script, const char *path, unsigned kinds,
                      struct error *err)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    int ret;

    if (!file)
        return error_errno(err, errno, "script: cannot open %s", path);
    ret = read_text(file, &text, err);
    if (!ret)
        ret = input_script_parse(script, text, kinds, err);
    free(text);
    fclose(file);
    if (ret)
        error_prefix(err, "script: %s", path);
    return ret;
}

void input_script_free(struct input_script *script)
{
    free(script->events);
    *script = (struct input_script){0};
}
