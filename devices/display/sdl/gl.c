/*
 * Drawing with OpenGL: a textured rectangle. Textures of the GPU's renderer are drawn as they are;
 * of pixels, what is damaged goes to a texture of ours.
 *
 * Drawing leaves the viewer's own context current: a renderer makes its own so before it goes on.
 */
#include "devices/display/sdl/sdl.h"

#include "base/log.h"
#include "devices/display/common/pixels.h"

#include <epoxy/gl.h>
#include <errno.h>
#include <libdrm/drm_fourcc.h>
#include <stdlib.h>

/* Corners of the rectangle, which fills the viewport, are made of their numbers. `part` is what of
 * the texture is at its left bottom corner, and how far the picture goes from there. */
static const char vertex_code[] = "#version 140\n"
                                  "uniform vec4 part;\n"
                                  "out vec2 at;\n"
                                  "void main() {\n"
                                  "    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);\n"
                                  "    gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);\n"
                                  "    at = part.xy + corner * part.zw;\n"
                                  "}\n";
/* A pointer has alpha; a picture has not, whatever is in its place. */
static const char fragment_code[] = "#version 140\n"
                                    "uniform sampler2D picture;\n"
                                    "uniform float opaque;\n"
                                    "in vec2 at;\n"
                                    "out vec4 colour;\n"
                                    "void main() {\n"
                                    "    vec4 seen = texture(picture, at);\n"
                                    "    colour = vec4(seen.rgb, max(seen.a, opaque));\n"
                                    "}\n";

/* --- opening ---------------------------------------------------------------------------------- */

void sdl_gl_attributes(void)
{
    SDL_GL_SetAttribute(SDL_GL_CONTEXT_PROFILE_MASK, SDL_GL_CONTEXT_PROFILE_CORE);
    SDL_GL_SetAttribute(SDL_GL_CONTEXT_MAJOR_VERSION, 3);
    SDL_GL_SetAttribute(SDL_GL_CONTEXT_MINOR_VERSION, 1);
    SDL_GL_SetAttribute(SDL_GL_DOUBLEBUFFER, 1);
}

static void compile(unsigned program, GLenum kind, const char *code)
{
    unsigned shader = glCreateShader(kind);

    glShaderSource(shader, 1, &code, NULL);
    glCompileShader(shader);
    glAttachShader(program, shader);
    glDeleteShader(shader); /* with the program */
}

static int link_program(struct sdl_viewer *v, struct error *err)
{
    GLint linked = 0;

    v->program = glCreateProgram();
    compile(v->program, GL_VERTEX_SHADER, vertex_code);
    compile(v->program, GL_FRAGMENT_SHADER, fragment_code);
    glLinkProgram(v->program);
    glGetProgramiv(v->program, GL_LINK_STATUS, &linked);
    if (!linked)
        return error_set(err, ENODEV, "the host's OpenGL does not take our shaders");
    v->part = glGetUniformLocation(v->program, "part");
    v->opaque = glGetUniformLocation(v->program, "opaque");
    glGenVertexArrays(1, &v->vertices);
    return 0;
}

/* --- for the renderer ------------------------------------------------------------------------- */

static void *create_context(struct display_viewer *viewer, int major, int minor)
{
    struct sdl_viewer *v = (struct sdl_viewer *)viewer;
    SDL_Window *window = v->windows[0].window;
    void *context;

    SDL_GL_MakeCurrent(window, v->context); /* the one to share with */
    SDL_GL_SetAttribute(SDL_GL_SHARE_WITH_CURRENT_CONTEXT, 1);
    SDL_GL_SetAttribute(SDL_GL_CONTEXT_MAJOR_VERSION, major);
    SDL_GL_SetAttribute(SDL_GL_CONTEXT_MINOR_VERSION, minor);
    context = SDL_GL_CreateContext(window);
    SDL_GL_MakeCurrent(window, v->context);
    return context;
}

static void destroy_context(struct display_viewer *viewer, void *context)
{
    (void)viewer;
    SDL_GL_DeleteContext(context);
}

static int make_current(struct display_viewer *viewer, void *context)
{
    return SDL_GL_MakeCurrent(((struct sdl_viewer *)viewer)->windows[0].window, context) ? -1 : 0;
}

int sdl_gl_open(struct sdl_viewer *v, struct error *err)
{
    v->context = SDL_GL_CreateContext(v->windows[0].window);
    if (!v->context)
        return error_set(err, ENODEV, "there is no OpenGL 3.1 for gl=on: %s", SDL_GetError());
    SDL_GL_SetSwapInterval(0); /* frames are timed by the viewer; none waits */
    v->gl = (struct display_gl){
        .viewer = &v->viewer,
        .create_context = create_context,
        .destroy_context = destroy_context,
        .make_current = make_current,
    };
    return link_program(v, err);
}

void sdl_gl_close(struct sdl_viewer *v)
{
    SDL_GL_MakeCurrent(v->windows[0].window, v->context);
    glDeleteProgram(v->program);
    glDeleteVertexArrays(1, &v->vertices);
    sdl_gl_release(&v->windows[0]);
    SDL_GL_DeleteContext(v->context);
    v->context = NULL;
}

void sdl_gl_release(struct sdl_window *w)
{
    SDL_GL_MakeCurrent(w->window, w->owner->context);
    glDeleteTextures(1, &w->texture);
    glDeleteTextures(1, &w->pointer_texture);
    w->texture = w->pointer_texture = 0;
}

/* --- pixels to a texture ---------------------------------------------------------------------- */

static bool gl_format(uint32_t fourcc, GLenum *format, GLenum *type)
{
    switch (fourcc) {
    case DRM_FORMAT_XRGB8888:
    case DRM_FORMAT_ARGB8888:
        *format = GL_BGRA;
        *type = GL_UNSIGNED_INT_8_8_8_8_REV;
        return true;
    case DRM_FORMAT_XBGR8888:
    case DRM_FORMAT_ABGR8888:
        *format = GL_RGBA;
        *type = GL_UNSIGNED_INT_8_8_8_8_REV;
        return true;
    case DRM_FORMAT_RGBX8888:
    case DRM_FORMAT_RGBA8888:
        *format = GL_RGBA;
        *type = GL_UNSIGNED_INT_8_8_8_8;
        return true;
    case DRM_FORMAT_BGRX8888:
    case DRM_FORMAT_BGRA8888:
        *format = GL_BGRA;
        *type = GL_UNSIGNED_INT_8_8_8_8;
        return true;
    default:
        return false;
    }
}

static void upload_pixels(const struct display_picture *p, const struct display_rect *r)
{
    GLenum format, type;

    if (!gl_format(p->fourcc, &format, &type) || p->stride % 4)
        return;
    glPixelStorei(GL_UNPACK_ROW_LENGTH, (GLint)(p->stride / 4));
    glTexSubImage2D(GL_TEXTURE_2D, 0, (GLint)r->x, (GLint)r->y, (GLsizei)r->width,
                    (GLsizei)r->height, format, type,
                    p->pixels + (size_t)p->stride * r->y + 4 * (size_t)r->x);
}

/* Of pictures that can only be read, which may leave a context of the renderer's current. */
static void upload_read(struct sdl_window *w, const struct display_rect *r)
{
    void *pixels = malloc(4 * (size_t)r->width * r->height);
    int ret = pixels ? display_pixels_read(&w->picture, r, pixels, 4 * (size_t)r->width) : -1;

    SDL_GL_MakeCurrent(w->window, w->owner->context);
    glBindTexture(GL_TEXTURE_2D, w->texture);
    glPixelStorei(GL_UNPACK_ROW_LENGTH, 0);
    if (!ret)
        glTexSubImage2D(GL_TEXTURE_2D, 0, (GLint)r->x, (GLint)r->y, (GLsizei)r->width,
                        (GLsizei)r->height, GL_BGRA, GL_UNSIGNED_INT_8_8_8_8_REV, pixels);
    free(pixels);
}

/* A texture of the picture's size; all of a new one is damaged. */
static void make_texture(struct sdl_window *w)
{
    struct display_picture *p = &w->picture;
    GLint width = 0, height = 0;

    if (!w->texture)
        glGenTextures(1, &w->texture);
    glBindTexture(GL_TEXTURE_2D, w->texture);
    glGetTexLevelParameteriv(GL_TEXTURE_2D, 0, GL_TEXTURE_WIDTH, &width);
    glGetTexLevelParameteriv(GL_TEXTURE_2D, 0, GL_TEXTURE_HEIGHT, &height);
    if ((uint32_t)width == p->width && (uint32_t)height == p->height)
        return;
    glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA8, (GLsizei)p->width, (GLsizei)p->height, 0, GL_BGRA,
                 GL_UNSIGNED_BYTE, NULL);
    w->damage.count = 0;
    display_damage_add(&w->damage, &(struct display_rect){0, 0, p->width, p->height});
}

static void upload(struct sdl_window *w)
{
    make_texture(w);
    for (unsigned i = 0; i < w->damage.count; i++) {
        if (w->picture.kind == DISPLAY_PIXELS)
            upload_pixels(&w->picture, &w->damage.rects[i]);
        else
            upload_read(w, &w->damage.rects[i]);
    }
    glPixelStorei(GL_UNPACK_ROW_LENGTH, 0);
    w->timing.copied += 4 * display_damage_pixels(&w->damage);
}

/* --- to the window ---------------------------------------------------------------------------- */

/* Which part of the texture the window's bottom left corner has, and how far it goes from there. */
static void texture_part(const struct sdl_window *w, float out[4])
{
    const struct display_picture *p = &w->picture;
    const struct display_texture *t = &p->texture;
    float top = 0, height = 1;

    out[0] = 0;
    out[2] = 1;
    if (p->kind == DISPLAY_TEXTURE && t->width && t->height) {
        out[0] = (float)p->x / (float)t->width;
        out[2] = (float)p->width / (float)t->width;
        top = (float)p->y / (float)t->height;
        height = (float)p->height / (float)t->height;
    }
    out[1] = top + height; /* its lowest row */
    out[3] = -height;
    if (p->kind == DISPLAY_TEXTURE && t->bottom_up) {
        out[1] = 1 - (top + height);
        out[3] = height;
    }
}

/* The bound texture to a rectangle of the window, whose origin is at its top here. */
static void draw_texture(const struct sdl_viewer *v, int window_height, const SDL_Rect *to,
                         const float part[4], bool opaque)
{
    GLint filter = v->smooth ? GL_LINEAR : GL_NEAREST;

    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, filter);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MAG_FILTER, filter);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_WRAP_S, GL_CLAMP_TO_EDGE);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_WRAP_T, GL_CLAMP_TO_EDGE);
    glViewport(to->x, window_height - to->y - to->h, to->w, to->h);
    glUniform4fv(v->part, 1, part);
    glUniform1f(v->opaque, opaque);
    glDrawArrays(GL_TRIANGLE_STRIP, 0, 4);
}

static void draw_pointer(struct sdl_window *w, int window_height)
{
    static const float all[4] = {0, 1, 1, -1};
    const struct display_cursor *c = w->cursor;
    const SDL_Rect *area = &w->area;
    double scale = (double)area->w / w->picture.width;
    SDL_Rect to;

    if (!sdl_pointer_drawn(w).width)
        return;
    to = (SDL_Rect){area->x + (int)((w->cursor_x - (int)c->hot_x) * scale),
                    area->y + (int)((w->cursor_y - (int)c->hot_y) * scale), (int)(c->width * scale),
                    (int)(c->height * scale)};
    if (!w->pointer_texture)
        glGenTextures(1, &w->pointer_texture);
    glBindTexture(GL_TEXTURE_2D, w->pointer_texture);
    glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA8, (GLsizei)c->width, (GLsizei)c->height, 0, GL_BGRA,
                 GL_UNSIGNED_INT_8_8_8_8_REV, c->pixels);
    glEnable(GL_BLEND);
    glBlendFunc(GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
    glEnable(GL_SCISSOR_TEST);
    glScissor(area->x, window_height - area->y - area->h, area->w, area->h);
    draw_texture(w->owner, window_height, &to, all, false);
    glDisable(GL_SCISSOR_TEST);
    glDisable(GL_BLEND);
}

void sdl_gl_draw(struct sdl_window *w)
{
    struct sdl_viewer *v = w->owner;
    int width, height;
    float part[4];

    SDL_GL_MakeCurrent(w->window, v->context);
    SDL_GetWindowSizeInPixels(w->window, &width, &height);
    if (w->picture.kind == DISPLAY_TEXTURE)
        glBindTexture(GL_TEXTURE_2D, w->picture.texture.id);
    else
        upload(w);
    glClearColor(0, 0, 0, 1);
    glClear(GL_COLOR_BUFFER_BIT);
    glUseProgram(v->program);
    glBindVertexArray(v->vertices);
    texture_part(w, part);
    draw_texture(v, height, &w->area, part, true);
    draw_pointer(w, height);
    w->cursor_drawn = sdl_pointer_drawn(w);
    SDL_GL_SwapWindow(w->window);
}
