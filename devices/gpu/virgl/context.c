/*
 * Contexts, and commands for them.
 */
#include "devices/gpu/virgl/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct virgl_context *virgl_context_find(struct gpu_renderer *r, uint32_t id)
{
    for (struct virgl_context *c = r->contexts; c; c = c->next)
        if (c->id == id)
            return c;
    return NULL;
}

bool virgl_context_is_gl(const struct virgl_context *context)
{
    return context->capset == VIRGL_CAPSET_VIRGL || context->capset == VIRGL_CAPSET_VIRGL2;
}

/* Each has one, and those made within it. */
static unsigned gl_contexts_of(const struct virgl_context *context)
{
    return virgl_context_is_gl(context) ? 1 + context->sub_context_count : 0;
}

int virgl_context_create(struct gpu_renderer *r, uint32_t id, uint32_t capset, const char *name)
{
    struct virgl_context *context;
    int ret;

    if (!capset)
        capset = VIRGL_CAPSET_VIRGL2;
    if (!id || virgl_context_find(r, id) || !virgl_capset_find(r, capset))
        return -EINVAL;
    if (r->context_count == VIRGL_CONTEXTS_MAX)
        return -ENOMEM;
    context = calloc(1, sizeof(*context));
    if (!context)
        return -ENOMEM;
    *context = (struct virgl_context){.r = r, .id = id, .capset = capset, .poll = {.fd = -1}};
    if (r->gl_context_count + gl_contexts_of(context) > VIRGL_GL_CONTEXTS_MAX) {
        free(context);
        return -ENOMEM;
    }
    virgl_enter(r);
    ret = virgl_renderer_context_create_with_flags(id, capset, (uint32_t)strlen(name), name);
    if (ret) {
        free(context);
        return virgl_result(ret);
    }
    context->next = r->contexts;
    r->contexts = context;
    r->context_count++;
    r->gl_context_count += gl_contexts_of(context);
    ret = virgl_fences_watch(r, context);
    if (ret < 0)
        virgl_context_destroy(r, id);
    return ret;
}

/* What was made for a blob that never came to be stays in the library: it stays counted, too. */
int virgl_context_destroy(struct gpu_renderer *r, uint32_t id)
{
    struct virgl_context **link = &r->contexts, *context;

    while (*link && (*link)->id != id)
        link = &(*link)->next;
    context = *link;
    if (!context)
        return -ENOENT;
    *link = context->next;
    r->context_count--;
    r->gl_context_count -= gl_contexts_of(context);
    if (context->poll.fd >= 0)
        loop_fd_remove(r->loop, &context->poll);
    virgl_enter(r);
    virgl_renderer_context_destroy(id);
    virgl_fences_context_gone(r, id);
    free(context);
    return 0;
}

int virgl_context_attach(struct gpu_renderer *r, uint32_t context, uint32_t resource)
{
    if (!virgl_context_find(r, context) || !virgl_resource_find(resource))
        return -ENOENT;
    virgl_enter(r);
    virgl_renderer_ctx_attach_resource((int)context, (int)resource);
    return 0;
}

int virgl_context_detach(struct gpu_renderer *r, uint32_t context, uint32_t resource)
{
    if (!virgl_context_find(r, context) || !virgl_resource_find(resource))
        return -ENOENT;
    virgl_enter(r);
    virgl_renderer_ctx_detach_resource((int)context, (int)resource);
    return 0;
}

int virgl_submit(struct gpu_renderer *r, uint32_t id, void *commands, size_t bytes)
{
    struct virgl_context *context = virgl_context_find(r, id);
    int ret;

    if (!context)
        return -ENOENT;
    if (bytes % 4 || bytes > VIRGL_SUBMIT_MAX)
        return -EINVAL;
    if (!bytes)
        return 0;
    if (virgl_context_is_gl(context)) {
        ret = virgl_stream_check(r, context, commands, bytes / 4);
        if (ret < 0)
            return ret;
    }
    virgl_enter(r);
    return virgl_result(virgl_renderer_submit_cmd(commands, (int)id, (int)(bytes / 4)));
}
