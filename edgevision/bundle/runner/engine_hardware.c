#define _GNU_SOURCE
#include "engine_hardware.h"

#include "runner.h"
#include "sha256.h"
#include "storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ap_ctrl_hs of Vitis HLS (UG1399) */
enum { CONTROL = 0x00, STATUS = 0x0c, PROGRAM = 0x10, WORDS = 0x18, FEATURES = 0x20, DILATIONS = 0x28, RESULTS = 0x30,
       FINISHED = 0x38, REGISTER_BYTES = 0x40 };
enum { START = 1, DONE = 2, IDLE = 4 };
/* system-level control registers (UG585) */
#define SLCR 0xF8000000u
enum { SLCR_BYTES = 4096, SLCR_LOCK = 0x004, SLCR_UNLOCK = 0x008, FPGA_RESET = 0x240, LOCK_KEY = 0x767B,
       UNLOCK_KEY = 0xDF0D };
enum { PAGE = 4096 };

static uint32_t get(const struct ev_hardware *hw, size_t offset)
{
    return *(volatile uint32_t *)(hw->registers.at + offset);
}

static void set(struct ev_hardware *hw, size_t offset, uint32_t value)
{
    *(volatile uint32_t *)(hw->registers.at + offset) = value;
}

static const char *named(const char *variable, const char *otherwise)
{
    const char *value = getenv(variable);
    return value && *value ? value : otherwise;
}

static int map(struct ev_mapping *m, const char *path, uint64_t offset, size_t bytes, struct ev_error *error)
{
    m->file = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
    if (m->file < 0)
        return ev_fail(error, EV_DEVICE, "cannot open %s: %s; the runner has to be root", path, strerror(errno));
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->file, (off_t)offset);
    if (at == MAP_FAILED)
        return ev_fail(error, EV_DEVICE, "cannot map %zu bytes of %s: %s", bytes, path, strerror(errno));
    m->at = at;
    m->bytes = bytes;
    return 0;
}

static void unmap(struct ev_mapping *m)
{
    if (m->at)
        munmap(m->at, m->bytes);
    if (m->file > 0)
        close(m->file);
    memset(m, 0, sizeof *m);
}

static int first_line(const char *folder, const char *name, char *line, int room)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    char *read = file ? fgets(line, room, file) : NULL;
    if (file)
        fclose(file);
    if (!read)
        return -1;
    line[strcspn(line, "\n")] = 0;
    return 0;
}

static int write_file(const char *folder, const char *name, const void *content, size_t bytes, struct ev_error *error)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    int bad = !file || fwrite(content, 1, bytes, file) != bytes;
    if (file && fclose(file))
        bad = 1;
    return bad ? ev_fail(error, EV_DEVICE, "cannot write %s: %s; the runner has to be root", path, strerror(errno)) : 0;
}

int ev_hardware_load(const struct ev_engine_plan *plan, const char *folder, struct ev_error *error)
{
    const char *manager = named("EDGEVISION_FPGA_MANAGER", "/sys/class/fpga_manager/fpga0");
    const char *firmware = named("EDGEVISION_FIRMWARE", "/lib/firmware");
    char path[512], hex[65], name[64], state[64] = "";
    uint64_t bytes;
    if (!plan->bitstream_bytes)
        return ev_fail(error, EV_TOOL, "the bundle has no bitstream: build it (make -C hw bitstream) and deploy again "
                                       "with --bitstream engine.bit");
    snprintf(path, sizeof path, "%s/engine.bin", folder);
    char *content = ev_read_file(path, plan->bitstream_bytes, &bytes, error);
    if (!content)
        return error->code;
    ev_sha256_hex(content, (size_t)bytes, hex);
    if (bytes != plan->bitstream_bytes || strcmp(hex, plan->bitstream_sha256))
        ev_fail(error, EV_MISMATCH, "expected the bitstream %.12s, got %.12s: %s", plan->bitstream_sha256, hex, path);
    else {
        snprintf(name, sizeof name, "edgevision-%.12s.bin", hex);
        if (!write_file(firmware, name, content, (size_t)bytes, error) && !write_file(manager, "flags", "0", 1, error) &&
            !write_file(manager, "firmware", name, strlen(name), error) &&
            (first_line(manager, "state", state, sizeof state) || strcmp(state, "operating")))
            ev_fail(error, EV_DEVICE, "the bitstream was not taken: %s says '%s'", manager, state);
    }
    free(content);
    return error->code;
}

static int own_unit(const char *folder)
{
    char name[64];
    return !first_line(folder, "name", name, sizeof name) && strstr(name, "edgevision_engine");
}

static int open_registers(struct ev_hardware *hw, const struct ev_engine_plan *plan, struct ev_error *error)
{
    const char *given = named("EDGEVISION_REGISTERS", NULL);
    static char path[300];
    hw->unit = given;
    if (given)
        return map(&hw->registers, given, 0, PAGE, error);
    DIR *units = opendir("/sys/class/uio");
    for (struct dirent *one; units && !hw->unit && (one = readdir(units));) {
        snprintf(path, sizeof path, "/sys/class/uio/%s", one->d_name);
        if (own_unit(path)) {
            snprintf(path, sizeof path, "/dev/%s", one->d_name);
            hw->unit = path;
        }
    }
    if (units)
        closedir(units);
    if (hw->unit)
        return map(&hw->registers, hw->unit, 0, PAGE, error);
    if (plan->register_bytes < REGISTER_BYTES || plan->registers % PAGE)
        return ev_fail(error, EV_DEVICE, "no UIO unit is called edgevision_engine, and the bundle does not say where its "
                                         "registers are: deploy with engine.hwh beside engine.bit");
    hw->unit = "/dev/mem";
    return map(&hw->registers, hw->unit, plan->registers, PAGE, error);
}

/* FILE@PHYSICAL, or the first u-dma-buf */
static int open_memory(struct ev_hardware *hw, size_t need, struct ev_error *error)
{
    char path[512], text[64];
    uint64_t bytes = 0;
    const char *given = named("EDGEVISION_MEMORY", NULL), *unit = "/sys/class/u-dma-buf/udmabuf0";
    if (given) {
        const char *at = strrchr(given, '@');
        struct stat status;
        snprintf(path, sizeof path, "%.*s", at ? (int)(at - given) : 0, given);
        if (!at || stat(path, &status))
            return ev_fail(error, EV_USAGE, "expected EDGEVISION_MEMORY=FILE@PHYSICAL, got %s", given);
        hw->physical = strtoull(at + 1, NULL, 0);
        bytes = (uint64_t)status.st_size;
    } else {
        if (first_line(unit, "phys_addr", text, sizeof text))
            return ev_fail(error, EV_DEVICE, "no contiguous memory: %s is missing; load the module u-dma-buf with "
                                             "udmabuf0=%zu", unit, need);
        hw->physical = strtoull(text, NULL, 16);
        bytes = first_line(unit, "size", text, sizeof text) ? 0 : strtoull(text, NULL, 10);
        strcpy(path, "/dev/udmabuf0");
    }
    if (bytes < need)
        return ev_fail(error, EV_MEMORY, "expected %zu bytes of contiguous memory, %s has %" PRIu64, need, path, bytes);
    if (hw->physical % PAGE || hw->physical + need > UINT32_MAX)
        return ev_fail(error, EV_DEVICE, "expected memory below 4 GiB at a multiple of %d, got 0x%" PRIx64, PAGE,
                       hw->physical);
    return map(&hw->memory, path, 0, need, error);
}

int ev_hardware_open(struct ev_hardware *hw, const struct ev_engine_plan *plan, struct ev_error *error)
{
    size_t program = ((size_t)plan->words * 8 + PAGE - 1) / PAGE * PAGE;
    const char *system = named("EDGEVISION_SLCR", NULL);
    memset(hw, 0, sizeof *hw);
    hw->maps_offset = program;
    hw->wait_ms = atoi(named("EDGEVISION_WAIT_MS", "10000"));
    if (open_registers(hw, plan, error) || open_memory(hw, program + plan->map_bytes, error))
        return error->code;
    return map(&hw->system, system ? system : "/dev/mem", system ? 0 : SLCR, SLCR_BYTES, error);
}

void ev_hardware_close(struct ev_hardware *hw)
{
    unmap(&hw->registers);
    unmap(&hw->memory);
    unmap(&hw->system);
}

uint8_t *ev_hardware_maps(struct ev_hardware *hw)
{
    return hw->memory.at + hw->maps_offset;
}

static void reset(struct ev_hardware *hw)
{
    const struct {
        size_t offset;
        uint32_t value;
    } steps[] = {{SLCR_UNLOCK, UNLOCK_KEY}, {FPGA_RESET, 1}, {FPGA_RESET, 0}, {SLCR_LOCK, LOCK_KEY}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        *(volatile uint32_t *)(hw->system.at + steps[i].offset) = steps[i].value;
        __sync_synchronize();
        /* long enough for the slowest clock, and for whoever simulates this */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static int set_arguments(struct ev_hardware *hw, uint32_t first, uint32_t words, struct ev_error *error)
{
    uint32_t maps = (uint32_t)(hw->physical + hw->maps_offset);
    const struct {
        const char *name;
        size_t offset;
        uint32_t value;
    } arguments[] = {{"program", PROGRAM, (uint32_t)hw->physical + 8 * first}, {"words", WORDS, words},
                     {"features", FEATURES, maps}, {"dilations", DILATIONS, maps}, {"results", RESULTS, maps}};
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++)
        set(hw, arguments[i].offset, arguments[i].value);
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        uint32_t got = get(hw, arguments[i].offset);
        if (got != arguments[i].value) {
            reset(hw);
            return ev_fail(error, EV_DEVICE, "register '%s' of %s: wrote 0x%08x, read 0x%08x; is this engine's bitstream "
                                             "loaded, does its clock run?", arguments[i].name, hw->unit,
                           (unsigned)arguments[i].value, (unsigned)got);
        }
    }
    return 0;
}

int ev_hardware_run(struct ev_hardware *hw, uint32_t first, uint32_t words, uint32_t calls, struct ev_error *error)
{
    uint32_t control = get(hw, CONTROL);
    if (!(control & IDLE)) {
        reset(hw);
        if (!((control = get(hw, CONTROL)) & IDLE))
            return ev_fail(error, EV_DEVICE, "the engine is busy (control 0x%x), and a reset does not end it",
                           (unsigned)control);
    }
    if (set_arguments(hw, first, words, error))
        return error->code;
    __sync_synchronize();
    set(hw, CONTROL, START);
    uint64_t begun = ev_now_ns();
    while (!((control = get(hw, CONTROL)) & DONE)) {
        if (ev_now_ns() - begun > (uint64_t)hw->wait_ms * 1000000) {
            uint32_t status = get(hw, STATUS), finished = get(hw, FINISHED);
            ev_fail(error, EV_DEVICE, "the engine did not end within %d ms: %u of %u calls are done; control 0x%x, status "
                                      "0x%x, program 0x%x, words %u, maps 0x%x; it was reset", hw->wait_ms,
                    (unsigned)finished, (unsigned)calls, (unsigned)control, (unsigned)status, (unsigned)get(hw, PROGRAM),
                    (unsigned)get(hw, WORDS), (unsigned)get(hw, FEATURES));
            reset(hw);
            return error->code;
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
    __sync_synchronize();
    uint32_t finished = get(hw, FINISHED);
    if (finished != calls) {
        reset(hw);
        return ev_fail(error, EV_DEVICE, "the engine says it is done after %u of %u calls; is this its bitstream?",
                       (unsigned)finished, (unsigned)calls);
    }
    return 0;
}
