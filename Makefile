# Vireo: a small KVM virtual machine monitor.
#
#   make               build build/vireo and its modules
#   make demo          install what is needed, build, boot a Debian kernel
#   make test          install what is needed, run every test (87 minutes at most)
#   make soak          drivers reloaded and disks' processes killed under load, many times instead of few;
#                      machines killed while they write; more guests under the sanitizers
#   make check         the quick part: unit tests, format, include rules, conformance table, warnings
#   make conformance   write tests/CONFORMANCE.md anew, after tests have changed
#   make fuzz          each fuzz target for 20 seconds
#   make bench-boot    figures (also bench-devices, bench-backends, bench-gpu, bench-ring; README, Figures)
#   make install       PREFIX=/usr/local, DESTDIR=
#
# Variables: CC, CFLAGS, V=1 (show commands), SAN=address,undefined | thread (builds apart, in
# build/SAN).

VERSION = 0.1.0

PREFIX ?= /usr/local
SAN ?=
empty :=
comma := ,
space := $(empty) $(empty)
BUILD ?= build$(if $(SAN),/$(subst $(comma),-,$(SAN)))
PKG_CONFIG ?= pkg-config
Q = $(if $(V),,@)

# --- flags --------------------------------------------------------------------------------------

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
HARDEN = -fstack-protector-strong -fstack-clash-protection -fcf-protection \
	 $(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
# No C code unwinds: what debuggers need for it is in the debug information, and leaves the executable
# a seventh smaller.
UNWIND = $(if $(SAN),,-fno-asynchronous-unwind-tables)
CFLAGS ?= -O2 -g
PIC = -fPIE
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE -I. -DVIREO_VERSION='"$(VERSION)"' -MMD -MP $(PIC) $(PKG_CFLAGS) \
	     -fno-semantic-interposition -ffunction-sections -fdata-sections \
	     $(WARNINGS) $(HARDEN) $(UNWIND) $(CFLAGS) \
	     $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
ALL_LDFLAGS = -pthread -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,noexecstack \
	      $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)

# --- sources ------------------------------------------------------------------------------------

ARCH = x86_64
CORE_SRC = $(sort $(wildcard base/*.c guest/*.c virtio/*.c devices/*.c devices/*/*.c transport/*.c \
	     kvm/*.c kvm/$(ARCH)/*.c firmware/*.c vmm/*.c))
CORE_OBJ = $(CORE_SRC:%.c=$(BUILD)/%.o)
CORE_LIBS = -l:liburing.a -ldl

# Modules: what most machines do not need, loaded on demand (base/module.h).
MODULES = unpack config user isolate discovery
unpack_SRC = $(wildcard guest/unpack/*.c)
unpack_PKG = zlib liblzma liblz4 libzstd libmd
unpack_LIBS = -lbz2
config_SRC = $(wildcard vmm/config/*.c)
config_PKG = jansson
user_SRC = $(wildcard devices/net/user/*.c)
user_PKG = slirp glib-2.0
isolate_SRC = $(wildcard vmm/isolate/*.c)
isolate_PKG = libseccomp
discovery_SRC = $(wildcard vmm/discovery/*.c)
discovery_PKG = jansson
# Graphics. (Libraries that leave threads or thread-local destructors behind are never unmapped:
# -z nodelete.)
MODULES += gpu
gpu_SRC = $(wildcard devices/gpu/model/*.c)
MODULES += virgl
virgl_SRC = $(wildcard devices/gpu/virgl/*.c)
virgl_PKG = virglrenderer epoxy
virgl_LIBS = -Wl,-z,nodelete
MODULES += input
input_SRC = $(wildcard devices/input/model/*.c)
input_PKG = libevdev

MODULES += vhost_user_gpu
vhost_user_gpu_SRC = $(wildcard devices/gpu/vhost_user/*.c) devices/gpu/model/output.c \
		     devices/gpu/model/edid.c devices/display/common/pixels.c
VIEWER_SRC = $(wildcard devices/display/common/*.c)
MODULES += png sdl vnc
png_SRC = $(wildcard devices/display/png/*.c) $(VIEWER_SRC)
png_PKG = libpng
sdl_SRC = $(wildcard devices/display/sdl/*.c) $(VIEWER_SRC)
sdl_PKG = sdl2 epoxy
sdl_LIBS = -Wl,-z,nodelete
vnc_SRC = $(wildcard devices/display/vnc/*.c) $(VIEWER_SRC)
vnc_PKG = libvncserver xkbcommon
vnc_LIBS = -Wl,-z,nodelete

MODULE_FILES = $(MODULES:%=$(BUILD)/vireo-%.so)

DRIVER_OBJ = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/driver/*.c))
UNIT_SRC = $(wildcard tests/unit/test_*.c)
UNIT_TESTS = $(UNIT_SRC:tests/unit/%.c=$(BUILD)/tests/%)
BENCH_SRC = $(wildcard tests/bench/bench_*.c)
PEERS = $(patsubst tests/peers/%.c,$(BUILD)/tests/peer_%,$(wildcard tests/peers/*.c))
BENCHES = $(BENCH_SRC:tests/bench/%.c=$(BUILD)/tests/%)

# --- what is built ------------------------------------------------------------------------------

.PHONY: all check conformance test soak demo install clean format bench-backends bench-boot bench-devices bench-gpu bench-ring unit unit-programs fuzz
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/vireo $(MODULE_FILES) $(BUILD)/vireo.1

$(BUILD)/libvireo.a: $(filter-out $(BUILD)/vmm/main.o,$(CORE_OBJ))
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^

# Modules call the few functions of the core that base/module.syms names.
$(BUILD)/vireo: $(BUILD)/vmm/main.o $(BUILD)/libvireo.a base/module.syms
	@echo "  LD    $@"
	$(Q)$(CC) -pie $(ALL_LDFLAGS) -Wl,--export-dynamic-symbol-list=base/module.syms -o $@ \
	    $(BUILD)/vmm/main.o $(BUILD)/libvireo.a $(CORE_LIBS)

$(BUILD)/vireo.1: $(BUILD)/vireo
	$(Q)$(BUILD)/vireo help man > $@

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

define MODULE
$$($(1)_SRC:%.c=$(BUILD)/%.o): PIC = -fPIC
$$($(1)_SRC:%.c=$(BUILD)/%.o): PKG_CFLAGS = $$(if $$($(1)_PKG),$$(shell $$(PKG_CONFIG) --cflags $$($(1)_PKG)))
$(BUILD)/vireo-$(1).so: $$($(1)_SRC:%.c=$(BUILD)/%.o)
	@echo "  LD    $$@"
	$$(Q)$$(CC) -shared $$(ALL_LDFLAGS) -o $$@ $$^ $$(if $$($(1)_PKG),$$(shell $$(PKG_CONFIG) --libs $$($(1)_PKG))) $$($(1)_LIBS)
endef
$(foreach module,$(MODULES),$(eval $(call MODULE,$(module))))

$(BUILD)/tests/test_%: $(BUILD)/tests/unit/test_%.o $(DRIVER_OBJ) $(BUILD)/libvireo.a base/module.syms
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,--export-dynamic-symbol-list=base/module.syms -o $@ $< \
	    $(DRIVER_OBJ) $(BUILD)/libvireo.a $(CORE_LIBS) $(TEST_LIBS) -lcmocka

# They make payloads of every format themselves, and have the module unpack them.
KERNEL_TESTS = $(addprefix $(BUILD)/tests/,test_kernel test_kernel_cache test_kernel_damaged)
$(KERNEL_TESTS): TEST_LIBS = -lz -llzma -llz4 -lzstd -lbz2
$(KERNEL_TESTS): $(BUILD)/vireo-unpack.so
$(BUILD)/tests/test_config: $(BUILD)/vireo-config.so
$(BUILD)/tests/test_net_host_user: $(BUILD)/vireo-user.so
$(BUILD)/tests/test_isolate: $(BUILD)/vireo-isolate.so
$(BUILD)/tests/test_discovery: $(BUILD)/vireo-discovery.so
# (-u: what the module calls of the core, and these programs do not.)
VHOST_USER_GPU_TESTS = $(filter $(BUILD)/tests/test_vhost_user_gpu%,$(UNIT_TESTS))
$(VHOST_USER_GPU_TESTS): $(BUILD)/vireo-vhost_user_gpu.so
$(VHOST_USER_GPU_TESTS): TEST_LIBS = -Wl,-u,guarded_map_create,-u,loop_event_open,-u,virtio_builtin_config_changed
$(filter $(BUILD)/tests/test_gpu_%,$(UNIT_TESTS)): $(BUILD)/vireo-gpu.so
# It has the module's code in itself, and a renderer of its own.
$(BUILD)/tests/test_gpu_3d: TEST_LIBS = $(gpu_SRC:%.c=$(BUILD)/%.o)
$(filter $(BUILD)/tests/test_gpu_virgl%,$(UNIT_TESTS)): $(BUILD)/vireo-virgl.so
$(BUILD)/tests/test_gpu_virgl_gl: TEST_LIBS = -lepoxy
$(BUILD)/tests/test_display_png: $(BUILD)/vireo-png.so
$(BUILD)/tests/test_display_png: TEST_LIBS = -lpng
$(BUILD)/tests/test_display_vnc: $(BUILD)/vireo-vnc.so
$(BUILD)/tests/test_display_vnc: TEST_LIBS = -lvncclient
HOSTILE_OBJ = $(addprefix $(BUILD)/devices/display/vnc/,patience.o guard.o)
$(BUILD)/tests/test_display_vnc_hostile: $(BUILD)/vireo-vnc.so $(HOSTILE_OBJ)
$(BUILD)/tests/test_display_vnc_hostile: TEST_LIBS = $(HOSTILE_OBJ) $(BUILD)/libvireo.a
$(BUILD)/tests/test_display_sdl: $(BUILD)/vireo-sdl.so
$(BUILD)/tests/test_display_sdl: TEST_LIBS = -lSDL2 -lepoxy -lX11
KEYS_OBJ = $(addprefix $(BUILD)/devices/display/,sdl/keys.o vnc/keymap.o common/damage.o)
$(BUILD)/tests/test_display_keys: $(KEYS_OBJ)
$(BUILD)/tests/test_display_keys: TEST_LIBS = $(KEYS_OBJ) -lSDL2 -lxkbcommon
$(addprefix $(BUILD)/tests/unit/test_display_,sdl.o keys.o): PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags sdl2)
$(BUILD)/tests/test_device_process: $(BUILD)/vireo $(BUILD)/vireo-isolate.so

# They look into the module's parts.
INPUT_TESTS = $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_input*.c))
$(INPUT_TESTS): TEST_LIBS = $(input_SRC:%.c=$(BUILD)/%.o) $(BUILD)/libvireo.a -levdev
$(BUILD)/tests/unit/test_input_evdev.o: PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(input_PKG))
$(INPUT_TESTS): $(BUILD)/vireo-input.so $(input_SRC:%.c=$(BUILD)/%.o)

$(BUILD)/tests/bench_%: $(BUILD)/tests/bench/bench_%.o $(DRIVER_OBJ) $(BUILD)/libvireo.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(DRIVER_OBJ) $(BUILD)/libvireo.a $(CORE_LIBS)

$(BUILD)/tests/peer_%: $(BUILD)/tests/peers/%.o $(DRIVER_OBJ) $(BUILD)/libvireo.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(DRIVER_OBJ) $(BUILD)/libvireo.a $(CORE_LIBS)

# --- tests --------------------------------------------------------------------------------------

unit-programs: all $(UNIT_TESTS) $(PEERS)

unit: unit-programs
	tests/unit/run $(BUILD)

check: all
	tests/check

conformance:
	tests/conformance/generate

test:
	tests/run

soak:
	tests/lab/packages test
	$(MAKE) all
	$(MAKE) SAN=address,undefined BUILD=build/address-undefined CFLAGS="-O1 -g" unit-programs
	$(MAKE) SAN=thread BUILD=build/thread CFLAGS="-O1 -g" unit-programs
	SOAK=1 tests/integration/run kill killed 'reload_*'
	tests/integration/run --build build/address-undefined smoke 'disks_*' nomsi
	tests/integration/run --build build/thread smoke

demo:
	tests/lab/packages demo
	$(MAKE) all
	tests/demo

bench-boot: all
	tests/bench/boot

bench-devices: all
	tests/bench/devices

bench-backends: all $(BUILD)/tests/bench_vhost_user
	tests/bench/backends

bench-gpu: all
	tests/bench/gpu

bench-ring: $(BENCHES)
	tests/bench/ring

fuzz:
	tests/fuzz/run

format:
	clang-format -i $(shell git ls-files '*.c' '*.h')

install: all
	install -D -s -m 755 $(BUILD)/vireo $(DESTDIR)$(PREFIX)/bin/vireo
	install -d $(DESTDIR)$(PREFIX)/lib/vireo
	install -s -m 644 $(MODULE_FILES) $(DESTDIR)$(PREFIX)/lib/vireo/
	install -D -m 644 $(BUILD)/vireo.1 $(DESTDIR)$(PREFIX)/share/man/man1/vireo.1
	install -d $(DESTDIR)$(PREFIX)/share/qemu/vhost-user $(DESTDIR)$(PREFIX)/libexec/vireo
	$(BUILD)/vireo device --write-discovery=$(DESTDIR)$(PREFIX)/share/qemu/vhost-user \
	    --programs=$(PREFIX)/libexec/vireo | while read -r name; do \
	    ln -sf ../../bin/vireo $(DESTDIR)$(PREFIX)/libexec/vireo/$$name || exit; done

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
