/*
 * The AML encoder: names, integers, blocks. Section numbers are those of ACPI 6.4.
 *
 * The one difficulty of AML is that every block begins with its own length, in a field of one to
 * four bytes that counts itself. Blocks are therefore written without it, and aml_close inserts it;
 * tables are a few kilobytes, so moving the content costs nothing that matters.
 */
#include "firmware/aml.h"

#include "base/bytes.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* 20.3: byte stream byte values. */
enum {
    AML_ZERO_OP = 0x00, /* also NullName */
    AML_ONE_OP = 0x01,
    AML_NAME_OP = 0x08,
    AML_BYTE_PREFIX = 0x0a,
    AML_WORD_PREFIX = 0x0b,
    AML_DWORD_PREFIX = 0x0c,
    AML_STRING_PREFIX = 0x0d,
    AML_QWORD_PREFIX = 0x0e,
    AML_SCOPE_OP = 0x10,
    AML_BUFFER_OP = 0x11,
    AML_PACKAGE_OP = 0x12,
    AML_METHOD_OP = 0x14,
    AML_DUAL_NAME_PREFIX = 0x2e,
    AML_MULTI_NAME_PREFIX = 0x2f,
    AML_EXT_OP_PREFIX = 0x5b,
    AML_ARG0_OP = 0x68,
    AML_STORE_OP = 0x70,
    AML_DEVICE_OP = 0x82, /* after AML_EXT_OP_PREFIX */
    AML_NOTIFY_OP = 0x86,
    AML_INDEX_OP = 0x88,
    AML_EQUAL_OP = 0x93,
    AML_IF_OP = 0xa0,
    AML_ELSE_OP = 0xa1,
    AML_RETURN_OP = 0xa4,
    AML_ONES_OP = 0xff,
};

#define AML_SEGMENT_SIZE 4

static void aml_fail(struct aml *aml, int code)
{
    if (!aml->error)
        aml->error = -code;
}

/* Make room for `size` bytes at `at`, moving what follows. NULL after an error. */
static uint8_t *aml_insert(struct aml *aml, size_t at, size_t size)
{
    if (aml->error)
        return NULL;
    if (size > aml->capacity - aml->size) {
        size_t capacity = MAX(aml->capacity * 2, aml->size + size + 256);
        uint8_t *data = realloc(aml->data, capacity);
        if (!data) {
            aml_fail(aml, ENOMEM);
            return NULL;
        }
        aml->data = data;
        aml->capacity = capacity;
    }
    memmove(aml->data + at + size, aml->data + at, aml->size - at);
    aml->size += size;
    return aml->data + at;
}

void aml_bytes(struct aml *aml, const void *bytes, size_t size)
{
    if (!size)
        return;
    uint8_t *to = aml_insert(aml, aml->size, size);
    if (to)
        memcpy(to, bytes, size);
}

static void aml_byte(struct aml *aml, uint8_t byte)
{
    aml_bytes(aml, &byte, 1);
}

int aml_finish(const struct aml *aml)
{
    if (aml->error)
        return aml->error;
    return aml->depth ? -EINVAL : 0;
}

void aml_free(struct aml *aml)
{
    free(aml->data);
    *aml = (struct aml){0};
}

/*
 * 20.2.3: integers. Fills `out` with the shortest encoding and returns its length. OnesOp is all
 * ones in the width of the table's integers, 64 bits from revision 2 of the DSDT on.
 */
static size_t aml_encode_integer(uint64_t value, uint8_t out[9])
{
    if (value <= 1 || value == UINT64_MAX) {
        out[0] = value == 0 ? AML_ZERO_OP : value == 1 ? AML_ONE_OP : AML_ONES_OP;
        return 1;
    }
    unsigned width = value <= UINT8_MAX ? 1 : value <= UINT16_MAX ? 2 : value <= UINT32_MAX ? 4 : 8;
    out[0] = width == 1   ? AML_BYTE_PREFIX
             : width == 2 ? AML_WORD_PREFIX
             : width == 4 ? AML_DWORD_PREFIX
                          : AML_QWORD_PREFIX;
    store_le(out + 1, width, value);
    return 1 + width;
}

void aml_integer(struct aml *aml, uint64_t value)
{
    uint8_t encoded[9];
    aml_bytes(aml, encoded, aml_encode_integer(value, encoded));
}

/*
 * 20.2.4: PkgLength. One byte holds lengths up to 63; otherwise bits 7-6 of the first byte say how
 * many bytes follow, its bits 3-0 are the lowest four bits of the length. The length counts these
 * bytes too. Returns how many bytes were written, 0 when the content is too long.
 */
static size_t aml_encode_length(size_t content, uint8_t out[4])
{
    if (content + 1 <= 0x3f) {
        out[0] = (uint8_t)(content + 1);
        return 1;
    }
    for (unsigned more = 1; more <= 3; more++) {
        uint64_t length = content + 1 + more;
        if (length >= BIT(4 + 8 * more))
            continue;
        out[0] = (uint8_t)(more << 6 | (length & 0xf));
        for (unsigned i = 0; i < more; i++)
            out[1 + i] = (uint8_t)(length >> (4 + 8 * i));
        return 1 + more;
    }
    return 0;
}

static void aml_open(struct aml *aml, enum aml_block kind)
{
    if (aml->depth == AML_DEPTH_MAX)
        aml_fail(aml, EINVAL);
    if (!aml->error)
        aml->open[aml->depth++] = (struct aml_open){.start = aml->size, .kind = kind};
}

void aml_close(struct aml *aml)
{
    static const uint8_t end_tag[] = {0x79, 0x00}; /* 6.4.2.9; checksum 0: "treat as correct" */

    if (!aml->error && !aml->depth)
        aml_fail(aml, EINVAL);
    if (aml->error)
        return;
    struct aml_open open = aml->open[--aml->depth];
    if (open.kind == AML_RESOURCES)
        aml_bytes(aml, end_tag, sizeof(end_tag));

    uint8_t prefix[4 + 9];
    size_t size = 0;
    size_t content = aml->size - open.start;
    if (open.kind != AML_PLAIN) { /* 20.2.5.4: DefBuffer is PkgLength BufferSize ByteList */
        uint8_t count[9];
        size_t count_size = aml_encode_integer(content, count);
        size = aml_encode_length(content + count_size, prefix);
        memcpy(prefix + size, count, count_size);
        size += size ? count_size : 0;
    } else {
        size = aml_encode_length(content, prefix);
    }
    if (!size)
        aml_fail(aml, E2BIG);
    uint8_t *to = aml_insert(aml, open.start, size);
    if (to)
        memcpy(to, prefix, size);
}

/* 20.2.2: a NameSeg is four characters: a letter or underscore, then those or digits. */
static bool aml_segment(const char *text, size_t length, char out[AML_SEGMENT_SIZE])
{
    if (!length || length > AML_SEGMENT_SIZE || (text[0] >= '0' && text[0] <= '9'))
        return false;
    memset(out, '_', AML_SEGMENT_SIZE);
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '_')
            return false;
        out[i] = c;
    }
    return true;
}

/* 20.2.2: the prefixes that say how many segments follow. */
static void aml_segment_count(struct aml *aml, size_t count)
{
    if (count == 0) {
        aml_byte(aml, AML_ZERO_OP); /* NullName: the root or the parent itself */
    } else if (count == 2) {
        aml_byte(aml, AML_DUAL_NAME_PREFIX);
    } else if (count > 2) {
        aml_byte(aml, AML_MULTI_NAME_PREFIX);
        aml_byte(aml, (uint8_t)count);
    }
}

void aml_path(struct aml *aml, const char *path)
{
    char segments[16][AML_SEGMENT_SIZE];
    size_t count = 0;
    size_t prefix = path[0] == '\\' ? 1 : strspn(path, "^");

    for (const char *p = path + prefix; *p;) {
        size_t length = strcspn(p, ".");
        bool more = p[length] == '.';
        if (count == ARRAY_SIZE(segments) || !aml_segment(p, length, segments[count]) ||
            (more && !p[length + 1])) {
            aml_fail(aml, EINVAL);
            return;
        }
        count++;
        p += length + more;
    }
    if (!count && !prefix) {
        aml_fail(aml, EINVAL);
        return;
    }
    aml_bytes(aml, path, prefix);
    aml_segment_count(aml, count);
    aml_bytes(aml, segments, count * AML_SEGMENT_SIZE);
}

void aml_scope_open(struct aml *aml, const char *path)
{
    aml_byte(aml, AML_SCOPE_OP);
    aml_open(aml, AML_PLAIN);
    aml_path(aml, path);
}

void aml_device_open(struct aml *aml, const char *path)
{
    aml_byte(aml, AML_EXT_OP_PREFIX);
    aml_byte(aml, AML_DEVICE_OP);
    aml_open(aml, AML_PLAIN);
    aml_path(aml, path);
}

void aml_method_open(struct aml *aml, const char *path, unsigned arguments)
{
    if (arguments > 7)
        aml_fail(aml, EINVAL);
    aml_byte(aml, AML_METHOD_OP);
    aml_open(aml, AML_PLAIN);
    aml_path(aml, path);
    aml_byte(aml, (uint8_t)arguments); /* MethodFlags: bit 3, serialized, stays clear */
}

void aml_package_open(struct aml *aml, unsigned elements)
{
    if (elements > UINT8_MAX)
        aml_fail(aml, EINVAL);
    aml_byte(aml, AML_PACKAGE_OP);
    aml_open(aml, AML_PLAIN);
    aml_byte(aml, (uint8_t)elements);
}

void aml_buffer_open(struct aml *aml)
{
    aml_byte(aml, AML_BUFFER_OP);
    aml_open(aml, AML_BUFFER);
}

void aml_resource_template_open(struct aml *aml)
{
    aml_byte(aml, AML_BUFFER_OP);
    aml_open(aml, AML_RESOURCES);
}

void aml_if_open(struct aml *aml)
{
    aml_byte(aml, AML_IF_OP);
    aml_open(aml, AML_PLAIN);
}

void aml_else_open(struct aml *aml)
{
    aml_byte(aml, AML_ELSE_OP);
    aml_open(aml, AML_PLAIN);
}

void aml_name(struct aml *aml, const char *path)
{
    aml_byte(aml, AML_NAME_OP);
    aml_path(aml, path);
}

/* 20.2.3: ASCII 1 to 127, then a NUL. */
void aml_string(struct aml *aml, const char *text)
{
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p > 0x7f)
            aml_fail(aml, EINVAL);
    }
    aml_byte(aml, AML_STRING_PREFIX);
    aml_bytes(aml, text, strlen(text) + 1);
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789ABCDEF";
    const char *p = c ? strchr(digits, toupper((unsigned char)c)) : NULL;
    return p ? (int)(p - digits) : -1;
}

/*
 * EISAID (chapter 19.6): an EISA identifier is three letters of five bits each and four hexadecimal
 * digits, most significant first; in AML it is an integer, so the bytes are swapped.
 */
void aml_eisa_id(struct aml *aml, const char *id)
{
    uint32_t packed = 0;
    bool valid = strlen(id) == 7;

    for (size_t i = 0; valid && i < 3; i++) {
        valid = id[i] >= 'A' && id[i] <= 'Z';
        packed = packed << 5 | (uint32_t)(id[i] - 'A' + 1);
    }
    for (size_t i = 3; valid && i < 7; i++) {
        valid = hex_digit(id[i]) >= 0;
        packed = packed << 4 | (uint32_t)hex_digit(id[i]);
    }
    if (!valid)
        aml_fail(aml, EINVAL);
    aml_integer(aml, __builtin_bswap32(packed));
}

/* ToUUID (chapter 19.6): the first three fields of the text are little-endian numbers, the rest is
 * bytes in order. */
void aml_uuid(struct aml *aml, const char *uuid)
{
    static const uint8_t position[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};
    uint8_t bytes[16] = {0};

    bool valid = strlen(uuid) == 36;
    for (size_t i = 0; valid && i < sizeof(bytes); i++) {
        int high = hex_digit(uuid[position[i]]), low = hex_digit(uuid[position[i] + 1]);
        valid = high >= 0 && low >= 0;
        bytes[i] = (uint8_t)(high * 16 + low);
    }
    if (!valid)
        aml_fail(aml, EINVAL);
    AML_BUFFER_BYTES(aml)
    {
        aml_bytes(aml, bytes, sizeof(bytes));
    }
}

void aml_name_integer(struct aml *aml, const char *path, uint64_t value)
{
    aml_name(aml, path);
    aml_integer(aml, value);
}

void aml_name_string(struct aml *aml, const char *path, const char *text)
{
    aml_name(aml, path);
    aml_string(aml, text);
}

void aml_name_eisa_id(struct aml *aml, const char *path, const char *id)
{
    aml_name(aml, path);
    aml_eisa_id(aml, id);
}

void aml_arg(struct aml *aml, unsigned n)
{
    if (n > 6)
        aml_fail(aml, EINVAL);
    aml_byte(aml, (uint8_t)(AML_ARG0_OP + n));
}

void aml_equal(struct aml *aml)
{
    aml_byte(aml, AML_EQUAL_OP);
}

void aml_notify(struct aml *aml)
{
    aml_byte(aml, AML_NOTIFY_OP);
}

void aml_return(struct aml *aml)
{
    aml_byte(aml, AML_RETURN_OP);
}

void aml_store(struct aml *aml)
{
    aml_byte(aml, AML_STORE_OP);
}

void aml_index(struct aml *aml)
{
    aml_byte(aml, AML_INDEX_OP);
}

void aml_null(struct aml *aml)
{
    aml_byte(aml, AML_ZERO_OP);
}
