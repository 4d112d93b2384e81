/* The floor: the same two loops in C, over the allocator chosen when this is compiled.
 *
 * -DDPDK takes from an rte_mempool, else malloc and free are whatever the program is linked with.
 * Arguments: block size, and for DPDK how many objects a thread may cache (after its own flags and
 * `--`). Prints one line of JSON: nanoseconds of processor time for one operation.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef DPDK
#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_mempool.h>
static struct rte_mempool *pool;
static inline void *take(size_t size) {
  void *block = NULL;
  (void)size;
  if (rte_mempool_get(pool, &block) != 0) abort();
  return block;
}
static inline void give(void *block) { rte_mempool_put(pool, block); }
#else
static inline void *take(size_t size) {
  void *block = malloc(size);
  if (block == NULL) abort();
  return block;
}
static inline void give(void *block) { free(block); }
#endif

#define HELD 256
static volatile unsigned char *kept[HELD];

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static void cycle(size_t size, uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    volatile unsigned char *block = take(size);
    block[0] = (unsigned char)i;
    give((void *)block);
  }
}

static void held(size_t size, uint64_t n) {
  uint32_t seed = 1;
  for (uint64_t i = 0; i < n; i++) {
    seed = (seed * 1103515245u + 12345u) & 0x7fffffffu;
    uint32_t at = (seed >> 8) % HELD;
    give((void *)kept[at]);
    volatile unsigned char *block = take(size);
    block[0] = (unsigned char)i;
    kept[at] = block;
  }
}

static double measure(void (*run)(size_t, uint64_t), size_t size) {
  const double slice = 100e6;
  for (uint64_t n = 64;;) {
    double start = now_ns();
    run(size, n);
    double ns = now_ns() - start;
    if (ns >= slice) return ns / (double)n;
    double times = 1.2 * slice / (ns < 1e4 ? 1e4 : ns);
    n = (uint64_t)((double)n * (times > 8 ? 8 : times)) + 1;
  }
}

int main(int argc, char **argv) {
#ifdef DPDK
  int used = rte_eal_init(argc, argv);
  if (used < 0) return 2;
  argc -= used;
  argv += used;
  if (argc < 3) return 2;
  size_t size = strtoul(argv[1], NULL, 10);
  unsigned cached = (unsigned)strtoul(argv[2], NULL, 10);
  pool = rte_mempool_create("floor", 1023, size, cached, 0, NULL, NULL, NULL,
                            NULL, SOCKET_ID_ANY, 0);
  if (pool == NULL) return 3;
#else
  if (argc < 2) return 2;
  size_t size = strtoul(argv[1], NULL, 10);
#endif
  double cycle_ns = measure(cycle, size);
  for (int i = 0; i < HELD; i++) kept[i] = take(size);
  double held_ns = measure(held, size);
  printf("{\"cycle\": %.3f, \"held\": %.3f}\n", cycle_ns, held_ns);
  return 0;
}
