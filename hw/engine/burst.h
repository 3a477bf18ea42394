// Every access to memory is a burst announced here, so that a C simulation can refuse what the bus would not carry.
#pragma once

#ifdef ENGINE_CSIM
namespace engine {
// Stops the simulation when a burst leaves the memory or is longer than BURST_BEATS.
void check_burst(const char *port, const void *memory, unsigned beat_bytes, unsigned first, unsigned beats);
}  // namespace engine
#define ENGINE_CHECK_BURST(port, memory, first, beats) \
    engine::check_burst(port, memory, sizeof(*(memory)), (unsigned)(first), (unsigned)(beats))
#else
#define ENGINE_CHECK_BURST(port, memory, first, beats)
#endif
