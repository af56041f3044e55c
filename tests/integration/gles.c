// usage: gles DEVICE
//
// Draws two triangles with OpenGL ES 2 on a render node and reads them back: "gles RENDERER" and
// "gles 0 wrong". Together they are a square, one red, the other green; each pixel belongs to one
// of them. Run in guests.

#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <GLES2/gl2.h>
#include <fcntl.h>
#include <gbm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE 64

static const char vertex_source[] = "attribute vec2 position;\n"
                                    "void main() { gl_Position = vec4(position, 0.0, 1.0); }\n";
static const char fragment_source[] = "precision mediump float;\n"
                                      "uniform vec4 colour;\n"
                                      "void main() { gl_FragColor = colour; }\n";

// The lower left half, and the upper right.
static const GLfloat triangles[2][3][2] = {{{-1, -1}, {1, -1}, {-1, 1}},
                                           {{1, -1}, {1, 1}, {-1, 1}}};
static const GLfloat colours[2][4] = {{1, 0, 0, 1}, {0, 1, 0, 1}};

static void need(bool good, const char *what)
{
    if (good)
        return;
    printf("gles fails: %s\n", what);
    exit(1);
}

static void make_context(const char *path)
{
    struct gbm_device *device = gbm_create_device(open(path, O_RDWR | O_CLOEXEC));
    need(device, path);
    EGLDisplay display = eglGetPlatformDisplay(EGL_PLATFORM_GBM_KHR, device, NULL);
    need(eglInitialize(display, NULL, NULL), "eglInitialize");
    need(eglBindAPI(EGL_OPENGL_ES_API), "eglBindAPI");
    const EGLint version[] = {EGL_CONTEXT_CLIENT_VERSION, 2, EGL_NONE};
    EGLContext context = eglCreateContext(display, EGL_NO_CONFIG_KHR, EGL_NO_CONTEXT, version);
    need(eglMakeCurrent(display, EGL_NO_SURFACE, EGL_NO_SURFACE, context), "eglMakeCurrent");
}

static GLuint shader(GLenum type, const char *source)
{
    GLuint name = glCreateShader(type);
    GLint good = 0;
    glShaderSource(name, 1, &source, NULL);
    glCompileShader(name);
    glGetShaderiv(name, GL_COMPILE_STATUS, &good);
    need(good, source);
    return name;
}

static GLuint make_program(void)
{
    GLuint program = glCreateProgram();
    GLint good = 0;
    glAttachShader(program, shader(GL_VERTEX_SHADER, vertex_source));
    glAttachShader(program, shader(GL_FRAGMENT_SHADER, fragment_source));
    glLinkProgram(program);
    glGetProgramiv(program, GL_LINK_STATUS, &good);
    need(good, "glLinkProgram");
    return program;
}

static void make_target(void)
{
    GLuint texture, framebuffer;
    glGenTextures(1, &texture);
    glBindTexture(GL_TEXTURE_2D, texture);
    glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA, SIZE, SIZE, 0, GL_RGBA, GL_UNSIGNED_BYTE, NULL);
    glGenFramebuffers(1, &framebuffer);
    glBindFramebuffer(GL_FRAMEBUFFER, framebuffer);
    glFramebufferTexture2D(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_TEXTURE_2D, texture, 0);
    need(glCheckFramebufferStatus(GL_FRAMEBUFFER) == GL_FRAMEBUFFER_COMPLETE, "framebuffer");
    glViewport(0, 0, SIZE, SIZE);
}

static void draw(void)
{
    GLuint program = make_program();
    glUseProgram(program);
    GLuint position = (GLuint)glGetAttribLocation(program, "position");
    glEnableVertexAttribArray(position);
    for (int i = 0; i < 2; i++) {
        glVertexAttribPointer(position, 2, GL_FLOAT, GL_FALSE, 0, triangles[i]);
        glUniform4fv(glGetUniformLocation(program, "colour"), 1, colours[i]);
        glDrawArrays(GL_TRIANGLES, 0, 3);
    }
}

// is_right: is it the colour of the triangle at x, y? On the diagonal, either of them has it.
static bool is_right(const unsigned char *pixel, int x, int y)
{
    static const unsigned char wanted[2][4] = {{255, 0, 0, 255}, {0, 255, 0, 255}};
    bool red = memcmp(pixel, wanted[0], 4) == 0, green = memcmp(pixel, wanted[1], 4) == 0;
    if (x + y == SIZE - 1)
        return red || green;
    return x + y < SIZE - 1 ? red : green;
}

int main(int argc, char *argv[])
{
    static unsigned char pixels[SIZE][SIZE][4];
    int wrong = 0;
    need(argc == 2, "usage: gles DEVICE");
    make_context(argv[1]);
    printf("gles %s\n", (const char *)glGetString(GL_RENDERER));
    make_target();
    draw();
    glReadPixels(0, 0, SIZE, SIZE, GL_RGBA, GL_UNSIGNED_BYTE, pixels);
    need(glGetError() == GL_NO_ERROR, "glGetError");
    for (int y = 0; y < SIZE; y++)
        for (int x = 0; x < SIZE; x++)
            wrong += !is_right(pixels[y][x], x, y);
    printf("gles %d wrong\n", wrong);
    return 0;
}
