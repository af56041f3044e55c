/*
 * Writing AML, the byte code of ACPI's definition blocks (ACPI 6.4, chapter 20).
 *
 * A builder is a growing buffer plus a stack of open blocks. Code that uses it reads like the ASL
 * it stands for: a block macro opens a package, the C block after it writes the content, and
 * leaving the block closes it and puts the length, which AML wants in front, where it belongs:
 *
 *     AML_DEVICE(aml, "COM1")                          Device (COM1) {
 *     {
 *         aml_name(aml, "_HID");                           Name (_HID, EisaId ("PNP0501"))
 *         aml_eisa_id(aml, "PNP0501");
 *         aml_name(aml, "_CRS");                           Name (_CRS, ResourceTemplate () {
 *         AML_RESOURCE_TEMPLATE(aml)
 *         {
 *             aml_io(aml, 0x3f8, 8);                           IO (Decode16, 0x3F8, 0x3F8, 1, 8)
 *         }                                                })
 *     }                                                }
 *
 * Never `return`, `break` or `goto` out of such a block: it would stay open, which aml_finish
 * reports. Operators are written before their operands, as in AML itself.
 *
 * A builder starts as `struct aml aml = {0}`. Errors stick: after the first one nothing more is
 * written, and aml_finish returns it. Callers need not check anything in between. Names are at most
 * four of A-Z 0-9 _, shorter ones are padded with _; a path is names joined by dots, with \ or ^ in
 * front if it is absolute or relative to a parent.
 */
#ifndef FIRMWARE_AML_H
#define FIRMWARE_AML_H

#include <stddef.h>
#include <stdint.h>

#define AML_DEPTH_MAX 12

struct aml {
    uint8_t *data; /* owned; freed by aml_free */
    size_t size, capacity;
    int error; /* 0, or the first negative errno: -ENOMEM, -EINVAL, -E2BIG */
    size_t depth;
    struct aml_open {
        size_t start; /* where the content begins and the length will go */
        enum aml_block { AML_PLAIN, AML_BUFFER, AML_RESOURCES } kind;
    } open[AML_DEPTH_MAX];
};

/* 0 when everything was written and closed; else -EINVAL (bad name, value or nesting), -ENOMEM or
 * -E2BIG (a block of 256 MiB). */
int aml_finish(const struct aml *aml);
void aml_free(struct aml *aml);

/* Blocks. Each aml_*_open wants an aml_close; the macros pair them. */
void aml_scope_open(struct aml *aml, const char *path);
void aml_device_open(struct aml *aml, const char *path);
void aml_method_open(struct aml *aml, const char *path, unsigned arguments);
void aml_package_open(struct aml *aml, unsigned elements); /* at most 255 */
void aml_buffer_open(struct aml *aml);
void aml_resource_template_open(struct aml *aml);
void aml_if_open(struct aml *aml); /* the content begins with the predicate */
void aml_else_open(struct aml *aml);
void aml_close(struct aml *aml);

#define AML_PASTE_(a, b)            a##b
#define AML_PASTE(a, b)             AML_PASTE_(a, b)
#define AML_BLOCK_(aml, once, open) for (int once = ((open), 1); once; once = (aml_close(aml), 0))
#define AML_BLOCK(aml, open)        AML_BLOCK_(aml, AML_PASTE(aml_once_, __LINE__), open)

#define AML_SCOPE(aml, path)        AML_BLOCK(aml, aml_scope_open(aml, path))
#define AML_DEVICE(aml, path)       AML_BLOCK(aml, aml_device_open(aml, path))
#define AML_METHOD(aml, path, args) AML_BLOCK(aml, aml_method_open(aml, path, args))
#define AML_PACKAGE(aml, elements)  AML_BLOCK(aml, aml_package_open(aml, elements))
#define AML_BUFFER_BYTES(aml)       AML_BLOCK(aml, aml_buffer_open(aml))
#define AML_RESOURCE_TEMPLATE(aml)  AML_BLOCK(aml, aml_resource_template_open(aml))
#define AML_IF(aml, predicate)      AML_BLOCK(aml, (aml_if_open(aml), (predicate)))
#define AML_ELSE(aml)               AML_BLOCK(aml, aml_else_open(aml))

/* Data. */
void aml_name(struct aml *aml, const char *path);  /* Name (path, ...): the object follows */
void aml_integer(struct aml *aml, uint64_t value); /* in its shortest form */
void aml_string(struct aml *aml, const char *text);
void aml_eisa_id(struct aml *aml, const char *id); /* "PNP0A08": three letters, four hex digits */
void aml_uuid(struct aml *aml,
              const char *uuid); /* ToUUID ("aabbccdd-..."): 16 bytes in a Buffer */
void aml_path(struct aml *aml, const char *path);                /* a reference to a named object */
void aml_bytes(struct aml *aml, const void *bytes, size_t size); /* raw, for a buffer's content */

/* The common cases of Name. */
void aml_name_integer(struct aml *aml, const char *path, uint64_t value);
void aml_name_string(struct aml *aml, const char *path, const char *text);
void aml_name_eisa_id(struct aml *aml, const char *path, const char *id);

/* Terms in methods; their operands are written next, in order. */
void aml_arg(struct aml *aml, unsigned n); /* Arg0 .. Arg6 */
void aml_equal(struct aml *aml);           /* LEqual (a, b) */
void aml_notify(struct aml *aml);          /* Notify (object, value) */
void aml_return(struct aml *aml);          /* Return (value) */
void aml_store(struct aml *aml);           /* Store (value, target) */
void aml_index(struct aml *aml);           /* Index (buffer, n, ), no target: see aml_null */
void aml_null(struct aml *aml);            /* NullName: a target that is not wanted */

/* Resource descriptors, for use in a resource template (ACPI 6.4, section 6.4). */
enum aml_trigger { AML_LEVEL, AML_EDGE };
enum aml_polarity { AML_ACTIVE_HIGH, AML_ACTIVE_LOW };
enum aml_sharing { AML_EXCLUSIVE, AML_SHARED };

/* What a device itself consumes. */
void aml_io(struct aml *aml, uint16_t port, uint8_t length);
void aml_memory32_fixed(struct aml *aml, uint32_t base, uint32_t size); /* read and write */
void aml_qword_memory(struct aml *aml, uint64_t base, uint64_t size);
void aml_interrupt(struct aml *aml, enum aml_trigger trigger, enum aml_polarity polarity,
                   enum aml_sharing sharing, uint32_t gsi);

/* What a bridge hands on to devices behind it. */
void aml_bus_window(struct aml *aml, uint16_t first, uint16_t last);     /* WordBusNumber */
void aml_io_window(struct aml *aml, uint32_t base, uint32_t size);       /* DWordIO */
void aml_memory32_window(struct aml *aml, uint32_t base, uint32_t size); /* DWordMemory, uncached */
void aml_memory64_window(struct aml *aml, uint64_t base, uint64_t size); /* QWordMemory, uncached */

#endif
