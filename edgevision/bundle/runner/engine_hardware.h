/* The engine on a Zynq-7000: registers through UIO or /dev/mem, memory through u-dma-buf, bitstream through the FPGA
 * manager of Linux. Where they are can be said by the environment (FORMAT.md). */
#ifndef EV_ENGINE_HARDWARE_H
#define EV_ENGINE_HARDWARE_H

#include "engine_plan.h"

#include <stddef.h>

struct ev_mapping {
    uint8_t *at;
    size_t bytes;
    int file;
};

struct ev_hardware {
    struct ev_mapping registers, memory, system;
    uint64_t physical;       /* address of the memory as the engine sees it */
    size_t maps_offset;      /* the program is at 0 */
    int wait_ms;
    const char *unit;        /* what the registers were found in */
};

int ev_hardware_load(const struct ev_engine_plan *plan, const char *folder, struct ev_error *error);
int ev_hardware_open(struct ev_hardware *hw, const struct ev_engine_plan *plan, struct ev_error *error);
void ev_hardware_close(struct ev_hardware *hw);

/* Region of the feature maps. */
uint8_t *ev_hardware_maps(struct ev_hardware *hw);

/* Run `words` words from `first` on, which hold `calls` calls; waits at most wait_ms, resets where that is too short. */
int ev_hardware_run(struct ev_hardware *hw, uint32_t first, uint32_t words, uint32_t calls, struct ev_error *error);

#endif
