/*
 * Command streams of virgl: words, of which the first of each command holds its number (bits 0-7)
 * and how many words follow (16-31).
 *
 * The library checks commands one by one while it carries them out. What it does not check is
 * checked here, before: that the last command is whole; how many GL contexts and how much memory a
 * guest makes within a stream; and commands that it carries out without what they need.
 */
#include "devices/gpu/virgl/internal.h"

#include <errno.h>

/* enum virgl_context_cmd of virgl_protocol.h */
enum {
    CMD_CREATE_SUB_CONTEXT = 29,
    CMD_DESTROY_SUB_CONTEXT = 30,
    CMD_PIPE_RESOURCE_CREATE = 48,
    CMD_GET_MEMORY_INFO = 50,
    CMD_VIDEO_FIRST = 53, /* CREATE_VIDEO_CODEC, and all that follow */
};

#define PIPE_RESOURCE_CREATE_WORDS 11
#define MEMORY_INFO_BYTES          24 /* struct virgl_memory_info */

static int create_sub_context(struct gpu_renderer *r, struct virgl_context *context, uint32_t id)
{
    for (unsigned i = 0; i < context->sub_context_count; i++)
        if (context->sub_contexts[i] == id)
            return 0;
    if (context->sub_context_count == VIRGL_SUB_CONTEXTS_MAX ||
        r->gl_context_count == VIRGL_GL_CONTEXTS_MAX)
        return -ENOMEM;
    r->gl_context_count++;
    context->sub_contexts[context->sub_context_count++] = id;
    return 0;
}

static void destroy_sub_context(struct gpu_renderer *r, struct virgl_context *context, uint32_t id)
{
    for (unsigned i = 0; i < context->sub_context_count; i++)
        if (context->sub_contexts[i] == id) {
            context->sub_contexts[i] = context->sub_contexts[--context->sub_context_count];
            r->gl_context_count--;
            return;
        }
}

/* A resource that a blob will name: made here, long before RESOURCE_CREATE_BLOB. */
static int create_pipe_resource(struct gpu_renderer *r, struct virgl_context *context,
                                const uint32_t *words)
{
    const struct gpu_renderer_texture texture = {
        .target = words[0],
        .format = words[1],
        .bind = words[2],
        .width = words[3],
        .height = words[4],
        .depth = words[5],
        .array_size = words[6],
        .last_level = words[7],
        .samples = words[8],
        .flags = words[9],
    };
    int64_t bytes = virgl_texture_bytes(&texture);

    if (!r->blobs || bytes < 0)
        return -EINVAL;
    if ((uint64_t)bytes > r->max_memory - MIN(r->memory, r->max_memory))
        return -ENOMEM;
    r->memory += (uint64_t)bytes;
    context->unclaimed += (uint64_t)bytes;
    return 0;
}

/* It is written to the first piece of the resource's backing, be there one or not. */
static bool takes_memory_info(uint32_t id)
{
    const struct virgl_resource *resource = virgl_resource_find(id);

    return resource && resource->first_backing >= MEMORY_INFO_BYTES;
}

static int check(struct gpu_renderer *r, struct virgl_context *context, uint8_t command,
                 const uint32_t *words, size_t count)
{
    switch (command) {
    case CMD_CREATE_SUB_CONTEXT:
        return count == 1 ? create_sub_context(r, context, words[0]) : -EINVAL;
    case CMD_DESTROY_SUB_CONTEXT:
        if (count == 1)
            destroy_sub_context(r, context, words[0]);
        return 0;
    case CMD_PIPE_RESOURCE_CREATE:
        return count == PIPE_RESOURCE_CREATE_WORDS ? create_pipe_resource(r, context, words)
                                                   : -EINVAL;
    case CMD_GET_MEMORY_INFO:
        return count == 1 && takes_memory_info(words[0]) ? 0 : -EINVAL;
    default: /* the library has its video only with VIRGL_RENDERER_USE_VIDEO */
        return command >= CMD_VIDEO_FIRST ? -EINVAL : 0;
    }
}

int virgl_stream_check(struct gpu_renderer *r, struct virgl_context *context,
                       const uint32_t *commands, size_t count)
{
    for (size_t at = 0; at < count;) {
        size_t words = commands[at] >> 16;
        int ret;

        if (words > count - at - 1)
            return -EINVAL;
        ret = check(r, context, commands[at] & 0xff, &commands[at + 1], words);
        if (ret < 0)
            return ret;
        at += words + 1;
    }
    return 0;
}
