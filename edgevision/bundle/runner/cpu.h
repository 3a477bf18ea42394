/* What the CPU can do, asked of the CPU (x86) or of the kernel (ARM), under the names /proc/cpuinfo uses. */
#ifndef EV_CPU_H
#define EV_CPU_H

#include <stddef.h>

/* 1 when the CPU has `feature`, 0 when it has not, -1 when this runner does not know how to ask. */
int ev_cpu_has(const char *feature);

/* "x86_64", "aarch64" or "armv7": what this runner was compiled for. */
const char *ev_cpu_arch(void);

/* Treat denormal floats as zero in the calling thread; returns the old mode for ev_cpu_restore. */
unsigned long ev_cpu_flush_denormals(void);
void ev_cpu_restore(unsigned long mode);

/* CPUs the calling thread may run on, at least 1. */
int ev_cpu_count(void);

/* Keep the calling thread on one CPU; 0 when the system allowed it. */
int ev_cpu_pin(int cpu);

#endif
