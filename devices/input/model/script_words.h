/*
 * The words of input scripts: times, numbers, names, quoted text. Each returns 0 or -EINVAL with
 * the reason.
 */
#ifndef DEVICES_INPUT_MODEL_SCRIPT_WORDS_H
#define DEVICES_INPUT_MODEL_SCRIPT_WORDS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INPUT_WORDS_MAX 8 /* of a line */

/* Cut a line into words, in place, without its comment; text in quotes keeps the first of these and
 * is one word. */
int input_split(char *line, char *words[INPUT_WORDS_MAX], size_t *count, struct error *err);

/* The characters of a word in quotes, in place. */
int input_unquote(char *word, struct error *err);

int input_parse_time(const char *word, uint64_t *out_ns, struct error *err);
int input_parse_number(const char *word, int32_t min, int32_t max, int32_t *out, struct error *err);

/* On an absolute axis: a number or, with %, a part of it. */
int input_parse_place(const char *word, int32_t *out, struct error *err);

int input_parse_key(const char *name, unsigned *out, struct error *err);
int input_parse_button(const char *name, unsigned *out, struct error *err);

/* The key of a US keyboard that makes this character. */
int input_find_character(char character, unsigned *code, bool *shift, struct error *err);

#endif
